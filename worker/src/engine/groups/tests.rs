//! What becomes of groups, tick by tick and fit by fit.

use std::{ops::Range, sync::Arc, time::Duration};

use super::*;
use crate::{
    engine::{FitWindow, JobState, TickInput},
    environment::{Grid, Stopwatch},
    joint::Joint,
    plan,
};

const MINUTE: i64 = 60_000;

const CLASSES: [&str; 5] = [
    "calibrated_multivariate",
    "temporal_envelope_multivariate",
    "isolation_forest_multivariate",
    "tuned temporal_envelope_multivariate",
    "tuned isolation_forest_multivariate",
];

/// The groups of hosts of a class with its arguments, tuned where it begins with `tuned `.
fn job(class: &str) -> JobState {
    let class = match class.strip_prefix("tuned ") {
        Some(tuned) => format!(
            "auto, tuned_class_name: {tuned}, optimization_params: \
             {{anomaly_percentage: 0.1, n_trials: 8, frozen_params: {{groupby: [host]}}}}"
        ),
        None if class.starts_with("auto,") => class.to_owned(),
        None => format!("{class}, groupby: [host]"),
    };
    let text = format!(
        "
schedulers: {{s: {{class: periodic, infer_every: 1m, fit_every: 1d, fit_window: 1d}}}}
models: {{m: {{class: {class}, queries: all, schedulers: all}}}}
reader: {{datasource_url: 'http://tsdb:8428', sampling_period: 1m, queries: {{cpu: {{expr: cpu}}, memory: {{expr: mem}}}}}}
writer: {{datasource_url: 'http://tsdb:8428'}}
"
    );
    let source = config::load::Source::new("worker.yaml", text);
    let config = config::load::load(&[source], &|_| None, 2).unwrap().config;
    JobState::new(plan::plan(&config, &config::topology::Topology::default(), 0).unwrap().remove(0))
}

fn channel(query: &str, host: &str) -> Labels {
    Joint::channel(query, &Labels::new([("host", host)]))
}

/// The tick at a minute: the value of each of these channels.
fn tick(state: &mut JobState, minute: i64, values: &[(&Labels, f64)]) -> TickInput {
    let grid = Grid { start: minute * MINUTE, step: MINUTE, points: 1 };
    let mut rows: Vec<(u32, usize)> = values
        .iter()
        .enumerate()
        .map(|(row, (labels, _))| (state.series.place(labels, minute * MINUTE), row))
        .collect();
    rows.sort_unstable();
    let values: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    TickInput::of_rows(minute * MINUTE, grid, &rows, &values)
}

/// Fitted to two hundred minutes of two channels of the host `a`.
fn fitted(class: &str) -> JobState {
    let mut state = job(class);
    let (cpu, memory) = (channel("cpu", "a"), channel("memory", "a"));
    let mut window = FitWindow::default();
    for minute in 0..200 {
        let value = (minute * 7 % 13) as f64;
        let input = tick(&mut state, minute, &[(&memory, 10.0 * value), (&cpu, value)]);
        window.push(input);
    }
    state.models[0].fitted_to = Some(199 * MINUTE);
    state.gather(&window);
    for slice in state.slices() {
        fit(&mut state, &window, &slice);
    }
    assert_eq!(state.instances(), 1);
    state
}

/// Fits a slice, with all trials of its searches.
fn fit(state: &mut JobState, window: &FitWindow, slice: &Range<u32>) {
    let unlimited: Stopwatch = Arc::new(|| Duration::ZERO);
    assert_eq!(state.fit_slice(window, slice), []);
    let mut searches = state.begin_searches(window, slice);
    while !searches.is_empty() {
        assert_eq!(state.search(&mut searches, window, &unlimited).refused, []);
    }
}

#[test]
fn a_tick_without_all_channels_of_a_group_or_with_others_has_no_score_and_teaches_nothing() {
    let (cpu, memory, disk) = (channel("cpu", "a"), channel("memory", "a"), channel("disk", "a"));
    for class in CLASSES {
        let mut state = fitted(class);
        let first = state.series.slot_of(&cpu).unwrap();
        let before = state.save(first, 0).unwrap();
        let lacking = tick(&mut state, 200, &[(&cpu, 1.0)]);
        let scores = state.infer(&lacking);
        assert_eq!((scores.blocks(), scores.unscored.len()), (0, 1));
        assert_eq!((&scores.unscored[0].missing, &scores.unscored[0].unknown), (&Some(memory.clone()), &None));
        let additional = tick(&mut state, 201, &[(&cpu, 1.0), (&disk, 1.0), (&memory, 10.0)]);
        let scores = state.infer(&additional);
        assert_eq!((scores.blocks(), &scores.unscored[0].unknown), (0, &Some(disk.clone())));
        assert_eq!(state.save(first, 0), Some(before));
        let whole = tick(&mut state, 203, &[(&memory, 10.0), (&cpu, 1.0)]);
        assert_eq!((state.infer(&whole).blocks(), state.infer(&whole).unscored.len()), (1, 0));
    }
}

/// What is said of the scores of the group `b` at a minute, and what of it is without one.
fn of_new_group(state: &mut JobState, minute: i64, channels: &[&Labels]) -> (Vec<f64>, Vec<String>) {
    let values: Vec<(&Labels, f64)> = channels.iter().map(|channel| (*channel, 1.0)).collect();
    let input = tick(state, minute, &values);
    let scores = state.infer(&input);
    let unscored = scores.unscored.iter().filter(|unscored| unscored.group.get("host") == Some("b"));
    let unscored = unscored.map(ToString::to_string).collect();
    (scores.groups.iter().flat_map(|group| group.anomaly_score().to_vec()).collect(), unscored)
}

#[test]
fn a_group_that_appears_between_fits_begins_at_once_or_waits_for_the_next_fit_as_its_class_has_it() {
    let (cpu, memory, disk) = (channel("cpu", "b"), channel("memory", "b"), channel("disk", "b"));
    let mut state = fitted("isolation_forest_multivariate");
    let (scores, unscored) = of_new_group(&mut state, 200, &[&cpu]);
    assert!(scores.is_empty() && unscored[0].starts_with(r#"the group {host="b"}, of 1 channels, was not fitted"#));

    let mut state = fitted("temporal_envelope_multivariate");
    let begins = |state: &mut JobState, minute: i64, channels: &[&Labels]| {
        assert_eq!(of_new_group(state, minute, channels), (vec![0.0], Vec::new()), "{minute}");
    };
    begins(&mut state, 200, &[&memory]);
    assert_eq!(state.instances(), 2);
    // Its other channels may come some ticks later: then it begins anew, with another first channel.
    begins(&mut state, 201, &[&memory, &cpu]);
    assert_eq!(state.instances(), 2);
    let [first, second] = [&cpu, &memory].map(|channel| state.series.slot_of(channel).unwrap());
    assert!(state.save(first, 0).is_some() && state.save(second, 0).is_none());
    let (scores, unscored) = of_new_group(&mut state, 202, &[&cpu]);
    assert!(scores.is_empty() && unscored[0].contains("1 instead of 2"), "{unscored:?}");
    // From its first score on, its channels are what it has learnt.
    (203..225).for_each(|minute| begins(&mut state, minute, &[&cpu, &memory]));
    let (scores, unscored) = of_new_group(&mut state, 225, &[&cpu, &memory, &disk]);
    assert!(scores.is_empty() && unscored[0].contains("3 instead of 2"), "{unscored:?}");
}

#[test]
fn an_alarm_of_a_group_names_its_channels_the_farthest_first_where_its_class_tells_them_apart() {
    let (cpu, memory) = (channel("cpu", "a"), channel("memory", "a"));
    for class in &CLASSES[..3] {
        let mut state = fitted(class);
        let input = tick(&mut state, 200, &[(&cpu, 1e4), (&memory, 1e9)]);
        let scores = state.infer(&input);
        let anomalies = state.anomalies(&input, &scores);
        assert_eq!(anomalies.len(), 1, "{class}");
        let excursion = &anomalies[0].excursions[0];
        assert_eq!((anomalies[0].labels.to_string().as_str(), excursion.value), (r#"{host="a"}"#, None));
        assert_eq!(excursion.yardstick.is_some(), *class == "calibrated_multivariate");
        let channels = excursion.channels.iter().map(|one| (&one.channel, one.value)).collect::<Vec<_>>();
        if class.starts_with("isolation") {
            assert_eq!(channels, []);
            continue;
        }
        assert_eq!(channels, [(&memory, 1e9), (&cpu, 1e4)], "{class}");
        assert!(excursion.channels.iter().all(|one| one.score > 1.0 && one.expected.is_some()), "{class}");
    }
}

#[test]
fn a_group_of_too_many_channels_cannot_begin_and_says_so() {
    let mut state = fitted("temporal_envelope_multivariate, max_channels: 2");
    let channels = ["cpu", "memory", "disk"].map(|query| channel(query, "b"));
    let (scores, unscored) = of_new_group(&mut state, 200, &channels.each_ref());
    assert_eq!((scores.len(), state.instances()), (0, 1));
    let said = r#"the group {host="b"} cannot begin: there are 3 channels, max_channels is 2; no score until it can"#;
    assert_eq!(unscored, [said]);
}

#[test]
fn a_replay_over_blocks_from_before_and_after_a_group_began_anew_comes_to_its_newest_state() {
    let (cpu, memory) = (channel("cpu", "b"), channel("memory", "b"));
    let mut state = fitted("temporal_envelope_multivariate");
    let both = [(&cpu, 1.0), (&memory, 2.0)];
    let [alone, first, next] = [200, 201, 202].map(|minute| {
        let input = tick(&mut state, minute, if minute == 200 { &both[1..] } else { &both });
        state.infer(&input);
        let [cpu, memory] = [&cpu, &memory].map(|channel| state.series.slot_of(channel));
        (input, cpu.and_then(|slot| state.save(slot, 0)), memory.and_then(|slot| state.save(slot, 0)))
    });
    let [of_cpu, of_memory] = [&cpu, &memory].map(|channel| state.series.slot_of(channel).unwrap());
    // The block of the one is from after minute 202 or 201, that of the other from after minute 200 or before it.
    for (newest, learnt) in [(&next, 202), (&first, 201)] {
        for old in [alone.2.as_ref(), None] {
            for old_first in [true, false] {
                let mut restored = fitted("temporal_envelope_multivariate");
                for channel in [&memory, &cpu] {
                    restored.series.place(channel, 0);
                }
                let mut load = |slot: u32, saved: Option<&Vec<u8>>| {
                    saved.into_iter().for_each(|saved| restored.restore(slot, 0, saved).unwrap());
                };
                if old_first {
                    load(of_memory, old);
                }
                load(of_cpu, newest.1.as_ref());
                if !old_first {
                    load(of_memory, old);
                }
                for (minute, (input, ..)) in (200..).zip([&alone, &first, &next]) {
                    let of_first = minute > learnt;
                    let of_second = old.is_none() || minute > 200;
                    let wanted = |slot: u32| if slot == of_cpu { of_first } else { of_second };
                    let (groups, series) = (restored.groups.as_mut().unwrap(), &restored.series);
                    groups.learn(input, series, wanted);
                }
                assert_eq!(restored.save(of_cpu, 0), next.1, "{learnt} {old_first}");
                assert_eq!((restored.save(of_memory, 0), restored.instances()), (None, 2));
            }
        }
    }
}

#[test]
fn a_fit_leaves_out_incidents_of_single_channels_where_it_is_told_to() {
    for class in &CLASSES[..3] {
        // The state after a fit to a window in which a channel has these values for ten minutes.
        let state_of = |arguments: &str, incident: f64| {
            let mut state = job(&format!("{class}{arguments}"));
            let (cpu, memory) = (channel("cpu", "a"), channel("memory", "a"));
            let mut window = FitWindow::default();
            for minute in 0..200 {
                let value = (minute * 7 % 13) as f64;
                let of_memory = if (100..110).contains(&minute) { incident } else { 10.0 * value };
                window.push(tick(&mut state, minute, &[(&memory, of_memory), (&cpu, value)]));
            }
            state.models[0].fitted_to = Some(199 * MINUTE);
            state.gather(&window);
            let slices = state.slices();
            slices.iter().for_each(|slice| fit(&mut state, &window, slice));
            state.save(state.series.slot_of(&cpu).unwrap(), 0).unwrap()
        };
        let missing = state_of("", detect::model::MISSING);
        assert!(state_of(", exclude_incidents: true", 1e4) == missing, "{class}");
        assert!(state_of("", 1e4) != missing, "{class}");
    }
}

#[test]
fn the_state_of_a_group_goes_with_its_first_channel_and_to_no_other_one() {
    let (cpu, memory) = (channel("cpu", "a"), channel("memory", "a"));
    for class in CLASSES {
        let mut state = fitted(class);
        let [first, second] = [&cpu, &memory].map(|channel| state.series.slot_of(channel).unwrap());
        assert_eq!(state.save(second, 0), None);
        let saved = state.save(first, 0).unwrap();
        let mut other = job(class);
        other.models[0].fitted_to = Some(0);
        // In other slots, and in another order of rows.
        let input = tick(&mut other, 200, &[(&cpu, 30.0), (&memory, 10.0)]);
        let slot = other.series.slot_of(&cpu).unwrap();
        other.load(slot, 0, &saved).unwrap();
        assert_eq!(other.save(slot, 0).as_ref(), Some(&saved));
        let wrong = other.series.slot_of(&memory).unwrap();
        assert!(other.load(wrong, 0, &saved).is_err());
        other.load(slot, 0, &saved).unwrap();
        assert!(other.load(slot, 0, &saved[..saved.len() - 1]).is_err() && other.instances() == 0);
        other.load(slot, 0, &saved).unwrap();
        let mine = tick(&mut state, 200, &[(&memory, 10.0), (&cpu, 30.0)]);
        let lines = |state: &mut JobState, input: &TickInput| {
            let scores = state.infer(input);
            state.render(input, &scores, 0..1, 1, 0).concat()
        };
        let (mine, theirs) = (lines(&mut state, &mine), lines(&mut other, &input));
        assert_eq!(mine, theirs);
        assert!(String::from_utf8(mine).unwrap().contains(r#""for":"cpu,memory""#));
        other.reset(&[slot]);
        assert_eq!(other.instances(), 0);
    }
}

#[test]
fn a_group_has_arguments_of_its_own_after_a_search_whatever_other_groups_there_are() {
    // The states of two groups of other noise after fits of the groups of these hosts.
    let states_of = |hosts: &[&str], arguments: &str| {
        let mut state = job("tuned temporal_envelope_multivariate");
        if !arguments.is_empty() {
            state = job(&format!(
                "auto, tuned_class_name: temporal_envelope_multivariate, optimization_params: \
                 {{anomaly_percentage: 0.1, n_trials: 8, frozen_params: {{groupby: [host]}}}}, {arguments}"
            ));
        }
        let mut window = FitWindow::default();
        for minute in 0..300 {
            let values: Vec<(Labels, f64)> = hosts
                .iter()
                .flat_map(|host| {
                    let wild = if *host == "b" && minute % 23 == 0 { 500.0 } else { 0.0 };
                    let value = (minute * 7 % 13) as f64 + wild;
                    [(channel("cpu", host), value), (channel("memory", host), 10.0 * value)]
                })
                .collect();
            let values: Vec<(&Labels, f64)> = values.iter().map(|(labels, value)| (labels, *value)).collect();
            window.push(tick(&mut state, minute, &values));
        }
        state.models[0].fitted_to = Some(299 * MINUTE);
        state.gather(&window);
        state.slices().iter().for_each(|slice| fit(&mut state, &window, slice));
        let saved = |host: &&str| state.save(state.series.slot_of(&channel("cpu", host)).unwrap(), 0).unwrap();
        let found = |group: &Group| match &group.model {
            MultivariateModel::Tuned(tuned) => tuned.spec().clone(),
            other => panic!("not tuned: {other:?}"),
        };
        let specs = hosts.iter().map(|host| found(&state.groups.as_ref().unwrap().groups[&channel("cpu", host)]));
        (hosts.iter().map(saved).collect::<Vec<_>>(), specs.collect::<Vec<_>>())
    };
    let (together, specs) = states_of(&["a", "b"], "");
    assert_ne!(specs[0], specs[1]);
    assert!(together[0] == states_of(&["a"], "").0[0] && together[1] == states_of(&["b"], "").0[0]);
    let fixed = states_of(&["b"], "scale: 3");
    assert!(fixed.0[0] != together[1], "a search depends on how scores are made");
}

#[test]
fn a_change_of_a_policy_begins_a_tuned_group_anew_and_no_other_one() {
    let signature = |class: &str| {
        let state = job(class);
        state.models[0].signature.clone()
    };
    let auto = |arguments: &str| {
        signature(&format!(
            "auto, tuned_class_name: isolation_forest_multivariate, \
             optimization_params: {{anomaly_percentage: 0.1}}{arguments}"
        ))
    };
    let own = |arguments: &str| signature(&format!("isolation_forest_multivariate{arguments}"));
    let changed = ", anomaly_score_outside_data_range: 7";
    assert_ne!(auto(""), auto(changed));
    assert_eq!(own(""), own(changed));
}
