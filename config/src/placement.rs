//! Where queries are placed that multivariate models join. Pure.
//!
//! Such a model sees series of several queries together, so all series of a group must come to one shard, whichever query
//! they are of. All queries that multivariate models connect are one **unit**, and every model on them finds their series
//! where the unit is. What was asked for one of its queries holds for all:
//!
//! - by a label, or several, that every model of the unit has in `groupby`;
//! - by `query`: all of the unit is where the query of the smallest alias is;
//! - by `series`, or nothing asked: by the labels that all models of the unit have in `groupby`. Where they have none in
//!   common, all of it is on one shard, as by `query`.
//!
//! Models are taken in the order of their aliases. One that asks for something else than those before it is refused.

use std::collections::{BTreeMap, BTreeSet};

use crate::ownership::Spread;
use crate::worker::Model;

/// Where queries are placed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placements {
    /// By query alias, what was asked for or follows from a unit.
    pub spreads: BTreeMap<String, Spread>,
    /// By model alias, why its queries cannot be placed together, with the names of those that contradict each other.
    pub refused: BTreeMap<String, String>,
}

/// Queries that are placed together.
#[derive(Debug, Clone, Default)]
struct Unit {
    queries: BTreeSet<String>,
    /// The models, with their `groupby`.
    models: BTreeMap<String, BTreeSet<String>>,
}

/// Places the queries of multivariate models together. `asked` has what was asked for, by query alias.
#[must_use]
pub fn placements(models: &BTreeMap<String, Model>, asked: &BTreeMap<String, Spread>) -> Placements {
    let mut units: Vec<Unit> = Vec::new();
    let mut placed = Placements { spreads: asked.clone(), ..Placements::default() };
    for (alias, model) in models {
        let Some(groupby) = model.class.groupby().filter(|_| !model.queries.is_empty()) else { continue };
        let queries: BTreeSet<String> = model.queries.iter().cloned().collect();
        let (connected, others) = units.iter().partition(|unit: &&Unit| !unit.queries.is_disjoint(&queries));
        let connected: Vec<&Unit> = connected;
        let mut unit = Unit { queries, models: BTreeMap::from([(alias.clone(), groupby.iter().cloned().collect())]) };
        for former in connected {
            unit.queries.extend(former.queries.iter().cloned());
            unit.models.extend(former.models.clone());
        }
        match unit.contradiction(alias, asked) {
            Some(reason) => {
                placed.refused.insert(alias.clone(), reason);
            }
            None => {
                let others: Vec<&Unit> = others;
                units = others.into_iter().cloned().chain([unit]).collect();
            }
        }
    }
    for unit in units {
        for query in &unit.queries {
            placed.spreads.insert(query.clone(), unit.spread(query, asked));
        }
    }
    placed
}

impl Unit {
    /// What was asked for its queries, without those that leave the choice.
    fn asked<'a>(&'a self, asked: &'a BTreeMap<String, Spread>) -> impl Iterator<Item = (&'a str, &'a Spread)> {
        self.queries.iter().filter_map(|query| Some((query.as_str(), asked.get(query)?)))
    }

    /// Why its queries cannot be placed together, if they cannot since this model joins them.
    fn contradiction(&self, model: &str, asked: &BTreeMap<String, Spread>) -> Option<String> {
        let (first, spread) = self.asked(asked).next()?;
        if let Some((other, its)) = self.asked(asked).find(|(_, its)| !is_alike(spread, its)) {
            let others: Vec<String> =
                self.models.keys().filter(|other| *other != model).map(|other| format!("`{other}`")).collect();
            let through = match others.is_empty() {
                true => String::new(),
                false => format!(" (those of {} are connected with them)", others.join(", ")),
            };
            return Some(format!(
                "the queries of a multivariate model must be spread alike{through}: `{first}` is by {spread}, `{other}` by {its}"
            ));
        }
        let (other, label) = self.models.iter().find_map(|(model, groupby)| {
            labels_of(spread).iter().find(|label| !groupby.contains(*label)).map(|label| (model, label.clone()))
        })?;
        let whose = if other == model { String::new() } else { format!(" of `{other}`, which shares queries with it") };
        Some(format!(
            "`{first}` is spread by {spread}, which would tear groups apart: `{label}` is not in `groupby`{whose}"
        ))
    }

    /// How one of its queries is spread.
    fn spread(&self, query: &str, asked: &BTreeMap<String, Spread>) -> Spread {
        match self.asked(asked).map(|(_, spread)| spread).next() {
            Some(spread @ (Spread::Label(_) | Spread::Labels(_))) => return spread.clone(),
            Some(Spread::Query | Spread::With(_)) => return self.together(query),
            Some(Spread::Series) | None => {}
        }
        let in_all = |label: &&String| self.models.values().all(|groupby| groupby.contains(*label));
        let common: Vec<String> = self.models.values().next().into_iter().flatten().filter(in_all).cloned().collect();
        match common.as_slice() {
            [] => self.together(query),
            [label] => Spread::Label(label.clone()),
            _ => Spread::Labels(common),
        }
    }

    /// All on the shard of the query of the smallest alias.
    fn together(&self, query: &str) -> Spread {
        match self.queries.first() {
            Some(first) if first != query => Spread::With(first.clone()),
            _ => Spread::Query,
        }
    }
}

/// Whether queries of one unit may be spread like this.
fn is_alike(one: &Spread, other: &Spread) -> bool {
    let is_together = |spread: &Spread| matches!(spread, Spread::Query | Spread::With(_));
    one == other || (is_together(one) && is_together(other))
}

/// The labels that decide where a series is.
fn labels_of(spread: &Spread) -> &[String] {
    match spread {
        Spread::Label(label) => std::slice::from_ref(label),
        Spread::Labels(labels) => labels,
        Spread::Series | Spread::Query | Spread::With(_) => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Source, load};

    /// The models: alias, `groupby` and queries.
    fn placed(models: &[(&str, &str, &str)], asked: &[(&str, Spread)]) -> Placements {
        let model = |(alias, groupby, queries): &(&str, &str, &str)| {
            format!(
                "  {alias}: {{class: isolation_forest_multivariate, groupby: [{groupby}], queries: [{queries}], schedulers: all}}\n"
            )
        };
        let text = format!(
            "schedulers: {{s: {{class: periodic, infer_every: 1m, fit_every: 1d, fit_window: 1d}}}}
models:
{}
  alone: {{class: zscore_online, queries: all, schedulers: all}}
reader: {{datasource_url: 'http://tsdb:8428', sampling_period: 1m,
  queries: {{a: {{expr: a}}, b: {{expr: b}}, c: {{expr: c}}, d: {{expr: d}}}}}}
writer: {{datasource_url: 'http://tsdb:8428'}}
",
            models.iter().map(model).collect::<String>()
        );
        let config = load(&[Source::new("worker.yaml", text)], &|_| None, 1).unwrap().config;
        let asked = asked.iter().map(|(alias, spread)| ((*alias).to_owned(), spread.clone())).collect();
        placements(&config.models, &asked)
    }

    fn label(name: &str) -> Spread {
        Spread::Label(name.to_owned())
    }

    fn with(alias: &str) -> Spread {
        Spread::With(alias.to_owned())
    }

    fn spreads(placed: &Placements) -> Vec<(&str, Spread)> {
        placed.spreads.iter().map(|(alias, spread)| (alias.as_str(), spread.clone())).collect()
    }

    #[test]
    fn nothing_asked_leaves_it_to_the_labels_that_all_models_of_a_unit_group_by() {
        let one = placed(&[("m", "host", "a, b")], &[]);
        assert_eq!(spreads(&one), [("a", label("host")), ("b", label("host"))]);
        let several = placed(&[("m", "cluster, host", "b")], &[("b", Spread::Series), ("d", Spread::Query)]);
        let labels = Spread::Labels(vec!["cluster".to_owned(), "host".to_owned()]);
        assert_eq!(spreads(&several), [("b", labels), ("d", Spread::Query)]);
        let common = placed(&[("m", "cluster, host", "a, b"), ("n", "host, mode", "b, c")], &[]);
        assert_eq!(spreads(&common), [("a", label("host")), ("b", label("host")), ("c", label("host"))]);
        let apart = placed(&[("m", "host", "c, b"), ("n", "mode", "b, d")], &[]);
        assert_eq!(spreads(&apart), [("b", Spread::Query), ("c", with("b")), ("d", with("b"))]);
        let whole = placed(&[("m", "", "b, d"), ("n", "host", "c")], &[]);
        assert_eq!(spreads(&whole), [("b", Spread::Query), ("c", label("host")), ("d", with("b"))]);
    }

    #[test]
    fn what_was_asked_for_one_query_holds_for_all_of_its_unit() {
        let by_query = placed(&[("m", "host", "a, b"), ("n", "host", "b, c")], &[("c", Spread::Query)]);
        assert_eq!(spreads(&by_query), [("a", Spread::Query), ("b", with("a")), ("c", with("a"))]);
        let again = placed(&[("m", "host", "a, b"), ("n", "host", "b, c")], &[("b", with("a")), ("c", Spread::Query)]);
        assert_eq!(spreads(&again), spreads(&by_query));
        let by_label = placed(&[("m", "host, mode", "a, b")], &[("b", label("mode"))]);
        assert_eq!(spreads(&by_label), [("a", label("mode")), ("b", label("mode"))]);
    }

    #[test]
    fn two_queries_that_ask_for_different_placements_are_named_and_the_other_models_stay() {
        let asked = [("a", Spread::Query), ("c", label("host"))];
        let placed = placed(&[("m", "host", "a, b"), ("n", "host", "b, c"), ("o", "host", "d")], &asked);
        assert_eq!(placed.refused.keys().collect::<Vec<_>>(), ["n"]);
        let reason = &placed.refused["n"];
        assert!(reason.ends_with("(those of `m` are connected with them): `a` is by `query`, `c` by `label: host`"));
        assert_eq!(placed.spreads["b"], with("a"));
        assert_eq!((&placed.spreads["c"], &placed.spreads["d"]), (&label("host"), &label("host")));
    }

    #[test]
    fn a_label_that_would_tear_groups_apart_is_refused_with_the_model_whose_groups_they_are() {
        let own = placed(&[("m", "host", "a, b")], &[("b", label("zone"))]);
        assert_eq!(
            own.refused["m"],
            "`b` is spread by `label: zone`, which would tear groups apart: `zone` is not in `groupby`"
        );
        let through = placed(&[("m", "host, zone", "a, b"), ("n", "zone", "b")], &[("a", label("host"))]);
        assert!(through.refused["n"].ends_with("`host` is not in `groupby`"), "{through:?}");
        let of_other = placed(&[("m", "zone", "b"), ("n", "host", "a, b")], &[("a", label("host"))]);
        assert!(of_other.refused["n"].ends_with("of `m`, which shares queries with it"), "{of_other:?}");
    }
}
