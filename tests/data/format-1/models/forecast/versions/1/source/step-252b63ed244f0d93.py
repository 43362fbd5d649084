@mv.step
def scaled(frame, *, by=2):
    return frame.assign(b=frame.b / by)
