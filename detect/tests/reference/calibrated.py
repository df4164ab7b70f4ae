#!/usr/bin/env python3
"""Reference of the classes `calibrated` and `calibrated_multivariate` in numpy and numba, in the order of their descriptions: to check
the implementation, not for speed.

usage: calibrated.py golden OUT_DIR RECIPE [RATE]               writes OUT_DIR/<case>.json, a part of the outputs for each series of
                                                                CASES
       calibrated.py labelled SPLIT_DIR OUT_DIR RECIPE [RATE]   writes OUT_DIR/<source>/<series>.csv for each series of
                                                                SPLIT_DIR/manifest.csv that has one channel:
                                                                timestamp,value,step,anomaly_score,yhat,yhat_lower,yhat_upper
       calibrated.py groups OUT_DIR                             writes OUT_DIR/<case>.json, a part of the outputs for each group of
                                                                GROUPS
       calibrated.py joint SPLIT_DIR OUT_DIR                    writes OUT_DIR/<source>/<series>.csv for each group of several channels
                                                                of SPLIT_DIR/manifest.csv: timestamp,anomaly_score

RECIPE is `current`, what the class does, or `original`, what it did at first: see RECIPES. RATE is that of false alarms a day,
USUAL_RATE if it is absent.

needs: numpy, numba, pandas (for `labelled`)
"""
import json
import os
import sys
from collections import namedtuple
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import numba
import numpy as np

# views: fast residual, slow residual, pair of slow residuals, drift; the first so many of them
# floor: share of L2 in sigma; unrest: exponent of E / L1; scale_days: memory of L1 and L2
# block_hours, quantile, factor: of the block maxima and of what follows from them
# quanta: least margin of a view in value quanta; held: highest score of what is held, 1 where nothing is
# pair, drift: factors of the margins of these views, infinite where they say nothing
# caution: by what part of itself a threshold is greater before there are blocks
# onset: whether sizes are means over what came since the first move, once a series moves for good
Recipe = namedtuple("Recipe", "views floor unrest scale_days block_hours quantile factor quanta held pair drift caution onset")
RECIPES = {
    "original": Recipe(2, 0.1, 0.6, 5.0, 8.0, 0.75, 1.475, 0.0, 1.0, 1.3, 1.1, 0.0, False),
    "current": Recipe(4, 0.2, 0.5, 4.0, 12.0, 0.65, 1.587, 1.5, 0.999, 1.3, 1.1, 0.5, True),
}

USUAL_RATE = 0.1
# Of the exponent that the factor of a rate follows from: in general, as so many blocks, at least, at most
PRIOR, PRIOR_BLOCKS, LEAST, MOST = 0.25, 10.0, 0.05, 1.0
# Blocks with more alarms of the usual rate than this say nothing of the exponent
MOST_IN_BLOCK = 0.35


@numba.njit(cache=True)
def clip(value, limit):
    return limit if value > limit else (-limit if value < -limit else value)


@numba.njit(cache=True)
def quantile_of(numbers, share):
    sorted_ = np.sort(numbers)
    position = share * (sorted_.size - 1)
    j = int(position)
    return sorted_[j] + (position - j) * (sorted_[min(j + 1, sorted_.size - 1)] - sorted_[j])


@numba.njit(cache=True)
def exponent_of(greatest, in_block, nd):
    """Of the greatest deviations of blocks in margins of the usual rate, of which a block has `in_block` alarms."""
    k = greatest.size
    if k < 3 or in_block > MOST_IN_BLOCK:
        return PRIOR
    once_a_block = max(quantile_of(greatest, np.exp(-((288.0 / nd) ** 0.25))), 1e-300)
    own = min(MOST, max(LEAST, np.log(once_a_block) / np.log(in_block)))
    return (k * own + PRIOR_BLOCKS * PRIOR) / (k + PRIOR_BLOCKS)


@numba.njit(cache=True)
def calibrated(x, ts, civil, step, recipe, rate=USUAL_RATE):
    """Columns score, yhat, lower, upper and distance of values at times in seconds, which a clock on the wall shows as `civil`. The
    distance is the score before the hold; there is none before the first one that is known."""
    n = x.size
    nd = 86400.0 / step
    tau = np.array([5.0, max(24.0, 3600.0 / step), max(48.0, 86400.0 / step)])
    t_scale = max(200.0, recipe.scale_days * nd)
    t_recent = max(6.0, 16 * 3600 / step)
    t_loss = max(50.0, 3 * nd)
    kd_count = int(min(288, max(1, nd)))
    kw_count = 7 * int(min(48, max(1, nd)))
    D, ND = np.zeros(kd_count), np.zeros(kd_count)
    W, NW = np.zeros(kw_count), np.zeros(kw_count)
    L, errors = np.zeros((3, 3)), np.zeros((3, 3))
    loss = np.zeros(3)
    H, NH = np.zeros(24), np.zeros(24)
    views = recipe.views
    L1, L2, E = np.zeros(4), np.zeros(4), np.zeros(4)
    L1_mid = 0.0
    u = np.zeros(4)
    g_drift = 1.0 / max(10.0, 8 * 3600 / step)
    factors = np.array([1.0, 1.0, recipe.pair, recipe.drift])
    quanta = recipe.quanta * np.array([1.0, 1.0, 0.5, np.sqrt(g_drift)])
    quantum, x_before = np.inf, np.nan
    still, moves = 0, 0
    r_before, drift = 0.0, 0.0
    hold, ts_before = 0.0, 0
    t_hold = min(5 * 3600.0, 30 * step)
    block_length = max(recipe.block_hours * 3600.0, 12 * step)
    ring = np.zeros((4, 120))
    blocks, block = 0, -1
    current = np.zeros(4)
    T0 = 4.13 * (nd / 1440.0) ** 0.05
    T = np.full(4, T0)
    in_block = USUAL_RATE * block_length / 86400.0
    theta = (USUAL_RATE / rate) ** PRIOR
    out = np.full((n, 5), np.nan)
    c = 0
    S, r, rs, w = np.zeros(3), np.zeros((3, 3)), np.zeros(3), np.zeros(3)
    for i in range(n):
        if not np.isfinite(x[i]):
            continue
        of_day = civil[i] % 86400
        weekday = (civil[i] // 86400 + 4) % 7
        of_week = weekday * 86400 + of_day
        hour = of_day // 3600
        kd = int(of_day * kd_count / 86400.0)
        kw = int(of_week * kw_count / (7 * 86400.0))
        if nd <= 288:
            by_day, day_known = D[kd], ND[kd] >= 1
        else:
            place = of_day * kd_count / 86400.0 - 0.5
            j = int(np.floor(place))
            v = place - j
            by_day = (1 - v) * D[j % kd_count] + v * D[(j + 1) % kd_count]
            day_known = ND[j % kd_count] >= 1 and ND[(j + 1) % kd_count] >= 1
        if nd <= 48:
            by_week, week_known = W[kw], NW[kw] >= 1
        else:
            place = of_week * kw_count / (7 * 86400.0) - 0.5
            j = int(np.floor(place))
            v = place - j
            by_week = (1 - v) * W[j % kw_count] + v * W[(j + 1) % kw_count]
            week_known = NW[j % kw_count] >= 1 and NW[(j + 1) % kw_count] >= 1
        if not day_known:
            by_day = 0.0
        if not week_known:
            by_week = by_day
        S[0], S[1], S[2] = 0.0, by_day, by_week
        if c == 0:
            L[:, :] = x[i]
        least, total = loss.min(), 0.0
        for a in range(3):
            w[a] = ((least + 1e-300) / (loss[a] + 1e-300)) ** 4 if loss[a] > 0 else 1.0
            total += w[a]
        h = 1.0
        if L1_mid > 0:
            h = max(1.0, (H[hour] * NH[hour] + 100 * L1_mid) / (NH[hour] + 100) / L1_mid)
        now = int(ts[i] // block_length)
        if now != block:
            if block >= 0 and c >= 30:
                ring[:, blocks % 120] = current
                blocks += 1
                k = min(blocks, 120)
                if k >= 3:
                    for q in range(views):
                        A = recipe.factor * quantile_of(ring[q, :k], recipe.quantile) * k / (k + 5.0)
                        M = max(A, T0)
                        T[q] = M * ((A / M) ** 4 + (T0 / M) ** 4) ** 0.25
                greatest = np.zeros(k)
                for q in range(views):
                    greatest = np.maximum(greatest, ring[q, :k] / (T[q] * factors[q]))
                theta = (USUAL_RATE / rate) ** exponent_of(greatest, in_block, nd)
            block = now
            current[:] = 0.0
        for b in range(3):
            rs[b] = 0.0
            for a in range(3):
                r[a, b] = x[i] - S[a] - L[a, b]
                rs[b] += w[a] / total * r[a, b]
        gd = max(g_drift, 1 / (c + 1.0))
        drift_now = drift + gd * (rs[2] - drift)
        u[0], u[1], u[3] = rs[0], rs[2], drift_now
        u[2] = np.sqrt(abs(rs[2]) * abs(r_before)) if rs[2] * r_before > 0 else 0.0
        if hold > 0:
            hold *= np.exp(-(ts[i] - ts_before) / t_hold)
        height = np.exp(hold)
        cautious = 1.0 + recipe.caution * np.exp(-blocks / 3.0)
        raw, lower, upper = 0.0, -np.inf, np.inf
        p_slow = x[i] - rs[2]
        for q in range(views):
            if c >= 30 and L1[q] > 0:
                root = np.sqrt(L2[q])
                between = L1[q] ** 0.6 * (root / 1.25) ** 0.4
                sigma = (between + recipe.floor * root) * h * max(1.0, E[q] / L1[q]) ** recipe.unrest
                z = abs(u[q]) / sigma
                current[q] = max(current[q], z)
                half = sigma * T[q] * theta * cautious * factors[q]
                if quantum < 1e300:
                    half = max(half, quanta[q] * quantum)
                raw = max(raw, abs(u[q]) / half)
                half *= height
                if q == 0:
                    lower = max(lower, x[i] - rs[0] - half)
                    upper = min(upper, x[i] - rs[0] + half)
                elif q == 1:
                    lower = max(lower, p_slow - half)
                    upper = min(upper, p_slow + half)
                elif q == 2:
                    if r_before > 0:
                        upper = min(upper, p_slow + half * half / r_before)
                    elif r_before < 0:
                        lower = max(lower, p_slow + half * half / r_before)
                else:
                    lower = max(lower, p_slow + (-half - (1 - gd) * drift) / gd)
                    upper = min(upper, p_slow + (half - (1 - gd) * drift) / gd)
        score = raw / height if raw > height else min(raw, recipe.held)
        if recipe.held < 1 and raw > 1:
            hold = max(hold, np.log(raw))
        yhat = x[i] - rs[0]
        if lower <= upper:
            yhat = min(max(yhat, lower), upper)
        else:
            yhat = 0.5 * (lower + upper)
            lower = upper = yhat
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = score, yhat, lower, upper
        if c >= 30 and L1[:views].max() > 0:
            out[i, 4] = raw
        of_mean = 1 / (c + 1.0)
        moved = c > 0 and x[i] != x_before
        if recipe.onset and quantum > 1e300:
            still = c if moved and c >= 30 else 0
        elif recipe.onset and still > 0 and moves < 15:
            moves = moves + 1 if moved else max(0, moves - 1)
        counted = c - still if moves >= 15 else c
        of_sizes = 1 / (counted + 1.0)
        if moved:
            quantum = min(quantum, abs(x[i] - x_before))
        x_before, r_before, drift, ts_before = x[i], rs[2], drift_now, ts[i]
        g = max(1 / t_scale, of_sizes)
        for q in range(views):
            size = abs(u[q])
            recent = min(size, 50 * L1[q]) if L1[q] > 0 else size
            if counted >= 10 and L1[q] > 0 and size > 6 * L1[q]:
                size = 6 * L1[q]
            L1[q] += g * (size - L1[q])
            L2[q] += g * (u[q] * u[q] - L2[q])
            E[q] += max(1 / t_recent, of_sizes) * (recent - E[q])
        size = abs(rs[1])
        if counted >= 10 and L1_mid > 0 and size > 6 * L1_mid:
            size = 6 * L1_mid
        L1_mid += g * (size - L1_mid)
        NH[hour] += 1
        H[hour] += max(1 / max(20.0, t_scale / 24), 1 / NH[hour]) * (size - H[hour])
        for a in range(3):
            size, limit = abs(r[a, 1]), 6 * errors[0, 1]
            if limit > 0 and size > limit:
                size = limit
            loss[a] += max(1 / t_loss, of_sizes) * (size - loss[a])
            for b in range(3):
                e, limit = r[a, b], 3.5 * errors[a, b]
                if counted >= 10 and limit > 0:
                    e = clip(e, limit)
                L[a, b] += max(1 / tau[b], of_mean) * e
                errors[a, b] += max(1 / max(tau[2], 2 * nd), of_sizes) * (abs(e) - errors[a, b])
        e, limit = x[i] - L[1, 2] - D[kd], 3.5 * errors[1, 2]
        if ND[kd] >= 1 and limit > 0:
            e = clip(e, limit)
        ND[kd] += 1
        D[kd] += max(0.15 / max(1.0, nd / kd_count), 1 / ND[kd]) * e
        if NW[kw] == 0:
            W[kw] = D[kd]
        e, limit = x[i] - L[2, 2] - W[kw], 3.5 * errors[2, 2]
        if limit > 0:
            e = clip(e, limit)
        NW[kw] += 1
        W[kw] += max(0.3 / max(1.0, 7 * nd / kw_count), 1 / (NW[kw] + 1)) * e
        c += 1
    return out


@numba.njit(cache=True)
def joint(distances, present, ts, step):
    """Joint scores of distances, channels by ticks; `present` says at which ticks any channel has a finite sample."""
    channels, n = distances.shape
    block_length = max(12 * 3600.0, 12 * step)
    ring = np.zeros(120)
    blocks, block, current = 0, -1, 0.0
    T = 1.0
    hold, ts_before = 0.0, 0
    t_hold = min(5 * 3600.0, 30 * step)
    out = np.full(n, np.nan)
    c = 0
    for i in range(n):
        if not present[i]:
            continue
        counted = distances[:, i]
        counted = np.sort(counted[np.isfinite(counted)])[::-1]
        top = min(3, counted.size)
        R = 0.0
        if top > 0 and counted[0] > 0:
            for j in range(top):
                R += np.log(counted[j] + 1e-3) / top
            R = np.exp(R)
        now = int(ts[i] // block_length)
        if now != block:
            if block >= 0 and c >= 30:
                ring[blocks % 120] = current
                blocks += 1
                k = min(blocks, 120)
                if k >= 3:
                    sorted_ = np.sort(ring[:k])
                    position = 0.5 * (k - 1)
                    j = int(position)
                    median = sorted_[j] + (position - j) * (sorted_[min(j + 1, k - 1)] - sorted_[j])
                    T = ((1.4 * median * k / (k + 5.0)) ** 4 + 1) ** 0.25
            block = now
            current = 0.0
        current = max(current, R)
        if c > 0:
            hold *= np.exp(-(ts[i] - ts_before) / t_hold)
        height = np.exp(hold)
        r = R / T
        out[i] = r / height if r > height else min(r, 0.999)
        if r > 1:
            hold = max(hold, np.log(r))
        ts_before = ts[i]
        c += 1
    return out


def joint_of(channels, times, civil, step):
    """Joint scores, and the distances of the channels."""
    recipe = RECIPES["current"]._replace(caution=0.0)
    distances = np.array([calibrated(values, times, civil, step, recipe)[:, 4] for values in channels])
    return joint(distances, np.isfinite(channels).any(axis=0), times, step), distances


def on_the_wall(times, zone):
    """What the clocks of a zone show, in seconds since they showed 1970-01-01 00:00:00."""
    if zone == "UTC":
        return times
    offset = lambda time: datetime.fromtimestamp(int(time), timezone.utc).astimezone(ZoneInfo(zone)).utcoffset()
    return np.array([time + int(offset(time).total_seconds()) for time in times], dtype=np.int64)


# Name, seconds a step, zone, first time, steps. `series` says what the values are; the same is in golden/calibrated.rs.
CASES = [
    ("minutes", 60, "UTC", 1704067200, 20000),
    ("ten_seconds", 10, "UTC", 1704067200, 40000),
    ("one_second", 1, "UTC", 1704067200, 100000),
    ("five_minutes_spring_in_berlin", 300, "Europe/Berlin", 1710720000, 7000),
    ("minutes_autumn_in_new_york", 60, "America/New_York", 1729900800, 20000),
    ("half_hours_in_lord_howe", 1800, "Australia/Lord_Howe", 1727740800, 3000),
    ("hours_in_kathmandu", 3600, "Asia/Kathmandu", 1704067200, 2500),
    ("days", 86400, "UTC", 1577836800, 1200),
    ("weeks", 604800, "UTC", 1262304000, 600),
    ("gaps", 300, "Europe/Berlin", 1704067200, 8000),
    ("flat_then_moving", 60, "UTC", 1704067200, 8000),
    ("on_and_off", 60, "UTC", 1704067200, 12000),
    ("two_integers", 300, "UTC", 1704067200, 6000),
    ("shift_in_the_first_hour", 60, "UTC", 1704067200, 8000),
    ("incident_in_the_first_day", 300, "UTC", 1704067200, 6000),
    ("far_from_zero", 300, "UTC", 1704067200, 6000),
]

# Name, seconds a step, zone, first time, steps, and the series of the channels.
GROUPS = [
    ("five", 300, "Europe/Berlin", 1710720000, 7000, ["usual", "usual", "on_and_off", "gaps", "usual"]),
    ("minutes", 60, "UTC", 1704067200, 20000, ["usual", "usual", "usual"]),
    ("two_with_gaps", 300, "UTC", 1704067200, 6000, ["gaps", "gaps"]),
    ("one", 60, "America/New_York", 1729900800, 12000, ["usual"]),
    ("late_movers", 60, "UTC", 1704067200, 12000, ["flat_then_moving", "two_integers", "flat_then_moving", "flat"]),
    ("hours", 3600, "Asia/Kathmandu", 1704067200, 2500, ["usual", "usual", "usual", "usual"]),
    ("days", 86400, "UTC", 1577836800, 1200, ["days", "days", "days"]),
]


def uniform(index):
    """Of 53 bits, below 1 (splitmix64)."""
    mask = 2**64 - 1
    z = (index + 1) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return ((z ^ z >> 31) >> 11) / 2**53


def series(name, step, zone, start, count, shift=0):
    """Times in seconds and values, made of operations that give the same bits everywhere; others for each `shift`."""
    times = start + step * np.arange(count, dtype=np.int64)
    civil = on_the_wall(times, zone)
    values = np.empty(count)
    for i in range(count):
        of_day, day = int(civil[i] % 86400), int(civil[i] // 86400)
        noise = uniform(i + shift) - 0.5
        curve = abs(of_day / 43200 - 1.0) * (1.0 if (day + 4) % 7 in (0, 6) else 4.0)
        spike = 16.0 if uniform(i + shift + 2**32) < 0.002 else 0.0
        value = 10.0 + curve + noise + spike
        if name == "days":
            value = 10.0 + (4.0 if (day + 4) % 7 in (0, 6) else 0.0) + noise
        elif name == "gaps":
            part = i % 1000
            if part >= 900 and i % 2000 < 1000 or uniform(i + shift + 2**33) < 0.05:
                value = np.nan
        elif name == "flat":
            value = 3.0
        elif name == "flat_then_moving":
            value = 3.0 if i < 2000 else 3.0 + noise
        elif name == "on_and_off":
            value = 1.0 if i // 240 % 3 == 0 or uniform(i + shift + 2**33) < 0.001 else 0.0
        elif name == "two_integers":
            value = 3.0 if uniform(i + shift) < 0.9 else 4.0
        elif name == "shift_in_the_first_hour":
            value += 0.0 if i < 40 else 100.0
        elif name == "incident_in_the_first_day":
            value *= 10.0 if 50 <= i < 150 else 1.0
        elif name == "far_from_zero":
            value += 1e9
        values[i] = value
    return times, civil, values


def golden(folder, recipe, rate):
    os.makedirs(folder, exist_ok=True)
    listed = lambda column: [None if np.isnan(number) else float(number) for number in column]
    for name, step, zone, start, count in CASES:
        times, civil, values = series(name, step, zone, start, count)
        out = calibrated(values, times, civil, float(step), recipe, rate)
        out[np.isinf(out)] = np.nan
        # Some in the first two blocks, the others spread over the rest.
        rows = sorted({*range(28, 48), *(int(i) for i in np.linspace(48, count - 1, 100))})
        case = {"kind": "calibrated", "series": name, "step": step, "zone": zone, "start": start, "count": count}
        if rate != USUAL_RATE:
            case["false_alarms_per_day"] = rate
        case |= {"idx": rows, "values_sum": float(np.nansum(values[rows]))}
        for column, key in enumerate(["anomaly_score", "yhat", "yhat_lower", "yhat_upper"]):
            case[key] = listed(out[rows, column])
        with open(os.path.join(folder, f"{name}.json"), "w") as file:
            json.dump(case, file, separators=(",", ":"))
            file.write("\n")


def groups(folder):
    os.makedirs(folder, exist_ok=True)
    listed = lambda column: [None if np.isnan(number) else float(number) for number in column]
    for name, step, zone, start, count, channels in GROUPS:
        times, civil, _ = series("flat", step, zone, start, count)
        values = np.array([series(one, step, zone, start, count, (k + 1) << 40)[2] for k, one in enumerate(channels)])
        # Now and then all of those that move do so together.
        together = np.array([5.0 if uniform(i + 2**34) < 0.002 else 0.0 for i in range(count)])
        for k, one in enumerate(channels):
            values[k] += together * (np.arange(count) >= {"flat": count, "flat_then_moving": 2000}.get(one, 0))
        score, distances = joint_of(values, times, civil, float(step))
        # Some in the first two blocks, some where all move together, the others spread over the rest.
        rows = {*range(28, 48), *np.flatnonzero(together)[:20], *np.linspace(48, count - 1, 80).astype(int)}
        rows = sorted(int(row) for row in rows)
        case = {"kind": "calibrated_multivariate", "step": step, "zone": zone, "start": start, "count": count, "channels": channels}
        case |= {"idx": rows, "values_sum": float(np.nansum(values[:, rows])), "anomaly_score": listed(score[rows])}
        case |= {"distances": [listed(of_channel[rows]) for of_channel in distances]}
        with open(os.path.join(folder, f"{name}.json"), "w") as file:
            json.dump(case, file, separators=(",", ":"))
            file.write("\n")


Labelled = namedtuple("Labelled", "source series step eval_from times values labels")


def read_labelled(split):
    """The series of one channel of a folder that docs/detection-quality.md describes."""
    import pandas

    events = {}
    if os.path.exists(os.path.join(split, "events.json")):
        with open(os.path.join(split, "events.json")) as file:
            events = json.load(file)
    for row in pandas.read_csv(os.path.join(split, "manifest.csv")).itertuples():
        path = os.path.join(split, row.source, f"{row.series}.csv")
        data = pandas.read_csv(path if os.path.exists(path) else f"{path}.gz")
        if len(data.columns.drop(["timestamp", "label"], errors="ignore")) > 1:
            continue
        times = data.timestamp.to_numpy(np.int64)
        if "label" in data:
            labels = data.label.to_numpy(float) > 0
        else:
            labels = np.zeros(times.size, bool)
            for first, last in events.get(f"{row.source}/{row.series}", []):
                labels |= (times >= first) & (times <= last)
        yield Labelled(row.source, row.series, row.step_s, row.eval_from, times, data.value.to_numpy(float), labels)


def labelled(split, folder, recipe, rate):
    import pandas

    for one in read_labelled(split):
        out = calibrated(one.values, one.times, one.times, float(one.step), recipe, rate)
        columns = {"timestamp": one.times, "value": one.values, "step": int(one.step)}
        columns |= dict(zip(["anomaly_score", "yhat", "yhat_lower", "yhat_upper"], out.T))
        os.makedirs(os.path.join(folder, one.source), exist_ok=True)
        path = os.path.join(folder, one.source, f"{one.series}.csv")
        pandas.DataFrame(columns).to_csv(path, index=False)


def labelled_groups(split, folder):
    import pandas

    manifest = pandas.read_csv(os.path.join(split, "manifest.csv"))
    for row in manifest[manifest.channels > 1].itertuples():
        data = pandas.read_csv(os.path.join(split, row.source, os.path.basename(row.path)))
        times = data.timestamp.to_numpy(np.int64)
        channels = data.iloc[:, 1:-1].to_numpy(float).T.copy()
        score, _ = joint_of(channels, times, times, float(row.step_s))
        os.makedirs(os.path.join(folder, row.source), exist_ok=True)
        path = os.path.join(folder, row.source, f"{row.series}.csv")
        pandas.DataFrame({"timestamp": times, "anomaly_score": score}).to_csv(path, index=False)


# By name: what it does, and how many folders it takes. The first two take a recipe and a rate too.
COMMANDS = {"golden": (golden, 1), "labelled": (labelled, 2), "groups": (groups, 1), "joint": (labelled_groups, 2)}

if __name__ == "__main__":
    command, *rest = sys.argv[1:] or [""]
    run, folders = COMMANDS.get(command, (None, 0))
    further = rest[folders:]
    of_series = command in ("golden", "labelled")
    is_valid = 1 <= len(further) <= 2 and further[0] in RECIPES if of_series else not further
    if run is None or len(rest) < folders or not is_valid:
        sys.exit(__doc__)
    if of_series:
        further = [RECIPES[further[0]], float(further[1]) if len(further) == 2 else USUAL_RATE]
    run(*rest[:folders], *further)
