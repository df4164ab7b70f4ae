//! What a job of a multivariate model joins: the series of several queries, in groups. Pure.
//!
//! Such a job has one model, which sees all series of its queries, its **channels**, together, or those of each **group**:
//! all channels that have the same values of some labels. Series of different queries may have the same labels, so each is
//! known by a label more, [`QUERY_LABEL`], from the read on: in the input log, in snapshots and between workers. It is in no
//! output.
//!
//! The group is what has a state, and what moves between shards: all channels of a group have one owner.

use std::collections::BTreeMap;

use config::{
    ownership::{Spread, ownership_key},
    worker::Query,
};
use serde::{Deserialize, Serialize};

use crate::labels::Labels;

/// The label that says which query a channel is of.
pub const QUERY_LABEL: &str = "__query__";

/// The queries that a multivariate model joins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    /// Labels by whose values channels are grouped, sorted; empty: all are one group.
    pub groupby: Vec<String>,
    /// The queries by alias, at least one.
    pub queries: BTreeMap<String, Query>,
}

impl Joint {
    /// The aliases, sorted and joined by commas: the `$QUERY_KEY` of the model's scores.
    #[must_use]
    pub fn query_key(&self) -> String {
        self.queries.keys().map(String::as_str).collect::<Vec<_>>().join(",")
    }

    /// The smallest alias, by which what is not spread by labels is placed.
    #[must_use]
    pub fn first_alias(&self) -> &str {
        self.queries.keys().next().map_or("", String::as_str)
    }

    /// The labels of a series of one of the queries as a channel.
    #[must_use]
    pub fn channel(alias: &str, series: &Labels) -> Labels {
        Labels::new(series.iter().chain([(QUERY_LABEL, alias)]))
    }

    /// The labels that tell the group of a channel from others.
    #[must_use]
    pub fn group_of(&self, channel: &Labels) -> Labels {
        Labels::new(self.groupby.iter().filter_map(|name| Some((name.as_str(), channel.get(name)?))))
    }

    /// The labels that all channels have, without the metric name: those of the group's scores.
    #[must_use]
    pub fn common(channels: &[Labels]) -> Labels {
        let Some((first, others)) = channels.split_first() else { return Labels::new::<&str, &str>([]) };
        let has_all = |(name, value): &(&str, &str)| others.iter().all(|other| other.get(name) == Some(*value));
        Labels::new(first.iter().filter(|(name, _)| *name != "__name__" && *name != QUERY_LABEL).filter(has_all))
    }

    /// The labels of a channel's own outputs.
    #[must_use]
    pub fn without_query(channel: &Labels) -> Labels {
        Labels::new(channel.iter().filter(|(name, _)| *name != QUERY_LABEL))
    }

    /// Writes the key by which a channel's group is owned; see [`ownership_key`]. Where the queries are spread by series,
    /// groups are by their own labels; without any, all is at one shard.
    pub fn ownership_key(&self, spread: &Spread, tenant: Option<&str>, channel: &Labels, key: &mut Vec<u8>) {
        let alias = self.first_alias();
        match spread {
            Spread::Series if self.groupby.is_empty() => ownership_key(&Spread::Query, tenant, alias, [], key),
            Spread::Series => ownership_key(spread, tenant, alias, self.group_of(channel).iter(), key),
            Spread::Query | Spread::Label(_) | Spread::Labels(_) | Spread::With(_) => {
                ownership_key(spread, tenant, alias, channel.iter(), key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joint(groupby: &[&str]) -> Joint {
        Joint { groupby: groupby.iter().map(|label| (*label).to_owned()).collect(), queries: BTreeMap::new() }
    }

    fn channel(query: &str, pairs: &[(&str, &str)]) -> Labels {
        Joint::channel(query, &Labels::new(pairs.iter().copied()))
    }

    #[test]
    fn the_scores_of_a_group_have_what_all_its_channels_have_in_common() {
        let channels = [
            channel("cpu", &[("__name__", "load"), ("host", "a"), ("job", "node"), ("mode", "user")]),
            channel("cpu", &[("__name__", "load"), ("host", "a"), ("job", "node"), ("mode", "idle")]),
            channel("memory", &[("__name__", "load"), ("host", "a"), ("job", "node")]),
        ];
        assert_eq!(Joint::common(&channels).to_string(), r#"{host="a",job="node"}"#);
        assert_eq!(Joint::without_query(&channels[2]).to_string(), r#"load{host="a",job="node"}"#);
        let groups = channels.clone().map(|channel| joint(&["host"]).group_of(&channel));
        assert!(groups.iter().all(|group| group.to_string() == r#"{host="a"}"#));
        assert_eq!(joint(&["zone"]).group_of(&channels[0]), Labels::new::<&str, &str>([]));
    }

    #[test]
    fn all_channels_of_a_group_have_one_owner_however_the_queries_are_spread() {
        let key_of = |joint: &Joint, spread: &Spread, channel: &Labels| {
            let mut key = Vec::new();
            joint.ownership_key(spread, Some("1:2"), channel, &mut key);
            key
        };
        let one = channel("cpu", &[("host", "a"), ("mode", "user")]);
        let other = channel("memory", &[("host", "a")]);
        let elsewhere = channel("memory", &[("host", "b")]);
        let by_host = joint(&["host"]);
        let by_labels = Spread::Labels(vec!["host".to_owned(), "rack".to_owned()]);
        for spread in [Spread::Series, Spread::Label("host".to_owned()), by_labels] {
            assert_eq!(key_of(&by_host, &spread, &one), key_of(&by_host, &spread, &other));
            assert_ne!(key_of(&by_host, &spread, &one), key_of(&by_host, &spread, &elsewhere));
        }
        for spread in [Spread::Series, Spread::Query, Spread::With("requests".to_owned())] {
            assert_eq!(key_of(&joint(&[]), &spread, &one), key_of(&joint(&[]), &spread, &elsewhere));
        }
    }
}
