@mv.step
def scaled(frame, *, power=1):
    return frame.assign(b=frame.b / SCALE**power)
