"""What the Python libraries take for what main.rs measures: a case is named on a line of standard input, its CPU time for one
call in nanoseconds is the answer on a line of standard output. Child processes, such as Stan, count. `sse` and the name of a
fit of holtwinters asks for the sum of its squared errors instead."""

import logging
import os
import pickle
import resource
import sys
import time
import warnings

import numpy as np
import pandas as pd

# statsmodels asks for its warnings again, whatever the filters say.
warnings.showwarning = lambda *_, **__: None
logging.disable(logging.CRITICAL)

FOLDER = sys.argv[1]
LEAST_SECONDS = 0.02


def numbers(name, kind="<f8"):
    return np.fromfile(os.path.join(FOLDER, name), dtype=kind)


def cpu_seconds():
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def seconds_of(operation):
    count = 1
    while True:
        start = cpu_seconds()
        for _ in range(count):
            operation()
        elapsed = cpu_seconds() - start
        if elapsed >= LEAST_SECONDS:
            return elapsed / count
        count = int(count * max(2, 1.2 * LEAST_SECONDS / max(elapsed, 1e-4)))


def once(make):
    """The value that `make` gives, made when it is first wanted."""
    made = []

    def get():
        if not made:
            made.append(make())
        return made[0]

    return get


def prophet(samples, **arguments):
    from prophet import Prophet

    frame = pd.DataFrame(
        {"ds": pd.to_datetime(numbers(f"prophet_n{samples}.times", "<i8"), unit="ms"), "y": numbers(f"prophet_n{samples}.values")}
    )
    logistic = arguments.get("growth") == "logistic"
    if logistic:
        frame["cap"], frame["floor"] = 250.0, 0.0

    def fit():
        return Prophet(**arguments).fit(frame)

    return fit


def predict_tick(model):
    times = numbers("prophet_tick.times", "<i8")

    def call():
        frame = pd.DataFrame({"ds": pd.to_datetime(times, unit="ms")})
        return model().predict(frame)

    return call


def holt_winters(samples, season, trend):
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    values = numbers(f"holtwinters_n{samples}.values")

    def fit():
        model = ExponentialSmoothing(
            values, trend=trend, seasonal="add", seasonal_periods=season, initialization_method="estimated"
        )
        return model.fit()

    return fit


def forest(width):
    from sklearn.ensemble import IsolationForest

    rows = np.ascontiguousarray(numbers(f"forest_d{width}.values").reshape(width, -1).T)
    return rows, lambda: IsolationForest(random_state=0).fit(rows)


def zscore_batch():
    """Exponentially forgetting it is not: mean and variance of all series, one new sample of each, as numpy is fastest."""
    values = numbers("zscore.values").reshape(16, -1)
    series = values.shape[1]
    mean, squares, state = np.zeros(series), np.zeros(series), [0]

    def tick():
        value = values[state[0] % 16]
        deviation = np.sqrt(squares / max(state[0], 1))
        margin = 2.5 * deviation
        lower, upper = mean - margin, mean + margin
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.abs(value - mean) / margin
        state[0] += 1
        delta = value - mean
        mean[:] += delta / state[0]
        squares[:] += delta * (value - mean)
        return lower, upper, score

    return tick, series


def zscore_frame():
    """One series, five points, as a service does that keeps pandas frames."""
    history = numbers("zscore.values")[:4032]
    mean, deviation = history.mean(), history.std()
    values = history[:5]

    def call():
        frame = pd.DataFrame({"y": values})
        frame["yhat"] = mean
        frame["yhat_lower"], frame["yhat_upper"] = mean - 2.5 * deviation, mean + 2.5 * deviation
        frame["anomaly_score"] = (frame["y"] - mean).abs() / (2.5 * deviation)
        return frame

    return call


def cases():
    from crick import TDigest
    from statsmodels.tsa.seasonal import STL, seasonal_decompose

    table = {}
    pickled = {}

    def fitted(name, fit):
        model = once(fit)
        pickled[name] = model
        return model

    for samples in [4032, 20160]:
        table[f"prophet_fit_n{samples}_default"] = lambda samples=samples: prophet(samples)
    table["prophet_multiplicative_fit_n4032"] = lambda: prophet(4032, seasonality_mode="multiplicative")
    table["prophet_logistic_fit_n4032"] = lambda: prophet(4032, growth="logistic")
    default = fitted("prophet", lambda: prophet(4032)())
    table["prophet_predict_tick_n4032_default"] = lambda: predict_tick(default)

    table["holtwinters_fit_m288_n4032_none_add"] = lambda: holt_winters(4032, 288, None)
    table["holtwinters_fit_m288_n4032_add_add"] = lambda: holt_winters(4032, 288, "add")
    smooth = fitted("holtwinters", lambda: holt_winters(4032, 288, None)())
    table["holtwinters_predict_tick_m288"] = lambda: lambda: smooth().forecast(5)

    for width in [1, 15]:
        table[f"isolation_forest_fit_n4032_d{width}"] = lambda width=width: forest(width)[1]
    trees = {width: once(lambda width=width: forest(width)[1]()) for width in [1, 15]}
    pickled["isolation_forest"] = trees[1]
    for width in [1, 15]:
        table[f"isolation_forest_score_n4032_d{width}"] = lambda width=width: (
            lambda rows=forest(width)[0]: trees[width]().score_samples(rows)
        )
        table[f"isolation_forest_score_tick_d{width}"] = lambda width=width: (
            lambda rows=forest(width)[0][:5]: trees[width]().score_samples(rows)
        )

    def digest():
        digest = TDigest(100)
        digest.update(numbers("digest.values"))
        return digest

    def add_each():
        values, target = numbers("digest.values").tolist(), digest()
        return lambda: [target.add(value) for value in values]

    def add_all():
        values, target = numbers("digest.values"), digest()
        return lambda: target.update(values)

    table["tdigest_update_c100"] = add_each
    table["tdigest_update_array_c100"] = add_all
    pickled["mad_online"] = once(digest)

    table["zscore_online_tick_s10000"] = lambda: zscore_batch()[0]
    table["zscore_online_call_5points"] = zscore_frame

    day = numbers("holtwinters_n4032.values")
    table["std_fit_p288_n4032"] = lambda: lambda: seasonal_decompose(day, model="additive", period=288, two_sided=False)
    table["stl_fit_p288_n4032"] = lambda: lambda: STL(day, period=288).fit()

    def rolling():
        window = pd.Series(day).rolling(96)
        return lambda: [window.quantile(probability) for probability in (0.1, 0.5, 0.9)]

    table["rolling_quantile_score_w96_n4032"] = rolling

    for name, model in pickled.items():
        table[f"{name}_save"] = lambda model=model: lambda target=model(): pickle.dumps(target, protocol=5)
        table[f"{name}_load"] = lambda model=model: lambda data=pickle.dumps(model(), protocol=5): pickle.loads(data)
    return table


def squared_errors(fit):
    return float(np.sum(np.square(fit().resid)))


def main():
    table, made = cases(), {}
    print("ready", flush=True)
    for line in sys.stdin:
        *command, name = line.split()
        if name not in made:
            made[name] = table[name]()
        answer = squared_errors(made[name]) if command == ["sse"] else 1e9 * seconds_of(made[name])
        print(answer, flush=True)


main()
