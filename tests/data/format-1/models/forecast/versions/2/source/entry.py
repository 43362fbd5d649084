def fit(frame, *, seed=7, password="(redacted)"):  # noqa: S107 - to be redacted
    ready = scaled(frame)
    for i in range(3):
        mv.log_metrics({"val/loss": 1 / (i + 1)}, step=i)
    mv.log_data(ids=np.arange(4), odd=object())
    mv.log_metrics(auc=0.8125)
    mv.log_artifact("note.txt", "fitted\n")
    return {"mean": float(ready.b.mean())}


# ---- __main__:scaled (make_format_1.py)
@mv.step
def scaled(frame, *, power=1):
    return frame.assign(b=frame.b / SCALE**power)
