//! `topology.yaml`: how many shards and ranks there are, and where queries are placed.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::contract::{CONTRACT_VERSION, CORE, OLDEST_CONTRACT_VERSION, listen_key};
use crate::fields::{Fields, not_allowed, wrong_type};
use crate::ownership::Spread;
use crate::problem::{ConfigErrors, Fault, Problems};
use crate::schema::{Key, Kind, Presence, Section};
use crate::tree::{Node, Value};
use crate::yaml::{self, Source};

/// How a deployment is laid out. The default is one worker alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Version of the contract in which the file is written.
    pub contract_version: u32,
    /// Goes up with every change of shards or placements.
    pub epoch: u64,
    /// Number of shards.
    pub shards: NonZeroU32,
    /// Shard counts since the last settled epoch, newest first; empty when nothing is being handed over.
    pub previous_shards: Vec<NonZeroU32>,
    /// The last epoch that is known to have settled: every series is where it belongs since then.
    pub settled_epoch: u64,
    /// Replicas of every shard.
    pub ranks: NonZeroU32,
    /// By query alias, the placement of queries that are not spread by series.
    pub placements: BTreeMap<String, Spread>,
    /// How workers reach each other; absent: they do not.
    pub peers: Option<Peers>,
}

/// How workers reach each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// URL of a worker, a template.
    pub url: MemberTemplate,
    /// Where a worker listens for the others, a template: address and port.
    pub listen: MemberTemplate,
    /// File with the token that the workers share.
    pub token_file: PathBuf,
}

/// A text that differs from worker to worker: `{shard}` and `{rank}` stand for its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberTemplate(String);

impl MemberTemplate {
    /// # Errors
    /// What else stands in braces.
    pub fn new(text: &str) -> Result<Self, String> {
        let rest = text.replace("{shard}", "0").replace("{rank}", "0");
        if rest.contains(['{', '}']) {
            return Err("only `{shard}` and `{rank}` are replaced; there are no other placeholders".into());
        }
        Ok(Self(text.to_owned()))
    }

    /// The text for one worker.
    #[must_use]
    pub fn of(&self, shard: u32, rank: u32) -> String {
        self.0.replace("{shard}", &shard.to_string()).replace("{rank}", &rank.to_string())
    }

    /// Whether every worker has a text of its own.
    fn tells_apart(&self, shards: NonZeroU32, ranks: NonZeroU32) -> bool {
        (shards.get() == 1 || self.0.contains("{shard}")) && (ranks.get() == 1 || self.0.contains("{rank}"))
    }
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            // Also that of a file that names none.
            contract_version: OLDEST_CONTRACT_VERSION,
            epoch: 0,
            shards: NonZeroU32::MIN,
            previous_shards: Vec::new(),
            settled_epoch: 0,
            ranks: NonZeroU32::MIN,
            placements: BTreeMap::new(),
            peers: None,
        }
    }
}

pub(crate) const SECTION: Section = Section {
    title: "Keys of `topology.yaml`",
    about: "How a deployment is laid out. Without the file there is one shard with one rank.",
    keys: &[
        Key::new(
            "contract_version",
            Kind::Integer(1, i64::MAX),
            Presence::Default("1"),
            "Version of this file's contract.",
        )
        .own(),
        Key::new(
            "epoch",
            Kind::Integer(0, i64::MAX),
            Presence::Default("0"),
            "Goes up with every change of shards or placements.",
        )
        .own(),
        Key::new("shards", SHARDS, Presence::Default("1"), "Number of shards.").own(),
        Key::new(
            "previous_shards",
            Kind::Special("list of whole numbers", "a list of whole numbers from 1 to 10000"),
            Presence::Absent("none"),
            "Shard counts since the last settled epoch, newest first: where new owners ask for state.",
        )
        .own(),
        Key::new(
            "settled_epoch",
            Kind::Integer(0, i64::MAX),
            Presence::Default("0"),
            "The last epoch in which every series has come to where it belongs.",
        )
        .own(),
        Key::new("ranks", Kind::Integer(1, 100), Presence::Default("1"), "Replicas of every shard.").own(),
        Key::new(
            "placements",
            Kind::Entries(&PLACEMENT),
            Presence::Absent("every query is spread by series"),
            "Placement by query alias.",
        )
        .own(),
        Key::new(
            "peers",
            Kind::Section(&PEERS),
            Presence::Absent("workers do not talk to each other"),
            "How workers reach each other. Required with more than one rank.",
        )
        .own(),
    ],
};

pub(crate) const PEERS: Section = peers_section(&peers_keys(CONTRACT_VERSION));
const OLDEST_PEERS: Section = peers_section(&peers_keys(OLDEST_CONTRACT_VERSION));

const fn peers_section(keys: &'static [Key]) -> Section {
    Section {
        title: "`peers`",
        about: "How workers reach each other. `{shard}` and `{rank}` stand for the numbers of a worker.",
        keys,
    }
}

const fn peers_keys(contract_version: u32) -> [Key; 3] {
    [
        Key::new(
            "url",
            Kind::Special("text", "an http URL, as in `http://anomaly-r{rank}-{shard}.anomaly:8491`"),
            Presence::Required,
            "URL of a worker.",
        )
        .own(),
        Key::new(
            listen_key(contract_version),
            Kind::Special("text", "an address and a port, as in `0.0.0.0:8491`"),
            Presence::Default("0.0.0.0:8491"),
            "Where a worker listens for the others: address and port; `[::]` is every address, of IPv6 and of IPv4.",
        )
        .own(),
        Key::new("token_file", Kind::File, Presence::Required, "File with the token that the workers share.").own(),
    ]
}

pub(crate) const PLACEMENT: Section = Section {
    title: "`placements.<alias>`",
    about: "How the series of a query are spread over the shards.",
    keys: &[
        Key::new("type", Kind::OneOf(&["series", "query", "label", "labels"]), Presence::Required,
            "`series`: each series by its labels. `query`: all of them on one shard. `label`: those with the same value of `label` together; `labels`: of all `labels`.").own(),
        Key::new("label", Kind::Text, Presence::Absent("required for `type: label`, else not allowed"), "Name of the label.").own(),
        Key::new("labels", Kind::Texts, Presence::Absent("required for `type: labels`, else not allowed"), "Names of labels, two or more.").own(),
        Key::new("query", Kind::Text, Presence::Absent("the query itself; not allowed but for `type: query`"), "Alias of another query, where that one is.").own(),
    ],
};

/// The greatest number of shards that a topology may have.
pub const MOST_SHARDS: u32 = 10_000;

const SHARDS: Kind = Kind::Integer(1, MOST_SHARDS as i64);

/// Why a text is no ordinal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` has no ordinal; write a number, or a pod name that ends in one, as in `anomaly-7`")]
pub struct OrdinalError {
    /// The text.
    pub text: String,
}

/// The ordinal of a member: a number, or the number after the last `-` of a pod name (`anomaly-7`).
///
/// # Errors
/// When there is none.
pub fn ordinal(text: &str) -> Result<u32, OrdinalError> {
    let text = text.trim();
    let digits = text.rsplit('-').next().unwrap_or_default();
    let named = digits.len() == text.len() || text.len() > digits.len() + 1;
    digits
        .parse()
        .ok()
        .filter(|_| named && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| OrdinalError { text: text.to_owned() })
}

impl Topology {
    /// Parses `topology.yaml`.
    ///
    /// # Errors
    /// Everything that is wrong in it.
    pub fn parse(source: &Source) -> Result<Self, ConfigErrors> {
        let mut problems = Problems::default();
        let topology = yaml::parse(source, &mut problems).and_then(|root| build(&root, &mut problems));
        problems.finish(topology, std::slice::from_ref(source)).map(|(topology, _)| topology)
    }

    /// The version of a file's contract, if this build does not understand it.
    #[must_use]
    pub fn newer_contract(source: &Source) -> Option<u32> {
        newer_contract(&yaml::parse(source, &mut Problems::default())?)
    }

    /// What a file of whatever contract says of who owns which series and who may still have them; `None` if it does not
    /// say that, or not in a way that this build knows. It never says how workers reach each other.
    #[must_use]
    pub fn parse_core(source: &Source) -> Option<Self> {
        let mut problems = Problems::default();
        let mut root = yaml::parse(source, &mut problems)?;
        let Value::Map(entries) = &mut root.value else { return None };
        entries.retain(|entry| CORE.contains(&entry.key.as_str()));
        // What would have a default is not guessed.
        let says = |key: &&str| root.get(key).is_some();
        if !["contract_version", "epoch", "settled_epoch", "shards", "ranks"].iter().all(says) {
            return None;
        }
        let fields = Fields::open(&[&SECTION], &root, "", &mut problems)?;
        let topology = core(&fields, &mut problems);
        problems.finish(topology, std::slice::from_ref(source)).ok().map(|(topology, _)| topology)
    }

    /// The text of the file, in the contract [`Topology::contract_version`]. JSON is YAML.
    #[must_use]
    pub fn text(&self) -> String {
        let placement = |(alias, spread): (&String, &Spread)| {
            let value = match spread {
                Spread::Series => json!({ "type": "series" }),
                Spread::Query => json!({ "type": "query" }),
                Spread::Label(label) => json!({ "type": "label", "label": label }),
                Spread::Labels(labels) => json!({ "type": "labels", "labels": labels }),
                Spread::With(alias) => json!({ "type": "query", "query": alias }),
            };
            (alias.clone(), value)
        };
        let mut text = format!(
            "contract_version: {}\nepoch: {}\nsettled_epoch: {}\nshards: {}\nranks: {}\n",
            self.contract_version, self.epoch, self.settled_epoch, self.shards, self.ranks
        );
        if !self.previous_shards.is_empty() {
            text.push_str(&format!("previous_shards: {}\n", json!(self.previous_shards)));
        }
        if !self.placements.is_empty() {
            let placements: BTreeMap<String, serde_json::Value> = self.placements.iter().map(placement).collect();
            text.push_str(&format!("placements: {}\n", json!(placements)));
        }
        if let Some(Peers { url, listen, token_file }) = &self.peers {
            let listen_key = listen_key(self.contract_version);
            let peers = json!({ "url": url, listen_key: listen, "token_file": token_file });
            text.push_str(&format!("peers: {peers}\n"));
        }
        text
    }

    /// The placement of a query.
    #[must_use]
    pub fn spread(&self, query_alias: &str) -> &Spread {
        self.placements.get(query_alias).unwrap_or(&Spread::Series)
    }
}

/// The version, if it is above this build's.
fn newer_contract(root: &Node) -> Option<u32> {
    let Value::Scalar(scalar) = &root.get("contract_version")?.value else { return None };
    scalar.text.parse().ok().filter(|version| *version > CONTRACT_VERSION)
}

fn build(root: &Node, problems: &mut Problems) -> Option<Topology> {
    if let (Some(_), Some(node)) = (newer_contract(root), root.get("contract_version"))
        && let Value::Scalar(scalar) = &node.value
    {
        // What else stands there may have another meaning.
        let reason = format!("newer than this build understands, {CONTRACT_VERSION}");
        problems.error(&node.place, "contract_version", not_allowed(scalar, reason, String::new));
        return None;
    }
    let fields = Fields::open(&[&SECTION], root, "", problems)?;
    let topology = core(&fields, problems);
    let version = topology.as_ref().map_or(CONTRACT_VERSION, |topology| topology.contract_version);
    let peers = fields.raw("peers").and_then(|node| peers(node, version, problems));
    let topology = topology?;
    match &peers {
        None if topology.ranks.get() > 1 && fields.raw("peers").is_none() => {
            let expected = "how the ranks reach each other, because there is more than one".into();
            fields.error("peers", Fault::Missing { expected }, problems);
        }
        Some(peers) if !peers.url.tells_apart(topology.shards, topology.ranks) => {
            let reason = "must have a `url` for each worker: use `{shard}` and `{rank}`";
            fields.conflict("peers", reason, problems);
        }
        _ => {}
    }
    Some(Topology { peers, ..topology })
}

/// All but how workers reach each other.
fn core(fields: &Fields<'_>, problems: &mut Problems) -> Option<Topology> {
    let contract_version = fields.whole("contract_version", problems);
    let epoch: Option<u64> = fields.whole("epoch", problems);
    let settled_epoch: Option<u64> = fields.whole("settled_epoch", problems);
    if let (Some(epoch), Some(settled)) = (epoch, settled_epoch)
        && settled > epoch
    {
        fields.not_allowed("settled_epoch", format!("greater than `epoch`, {epoch}"), problems);
    }
    let shards = fields.whole("shards", problems).and_then(NonZeroU32::new);
    let ranks = fields.whole("ranks", problems).and_then(NonZeroU32::new);
    let mut previous_shards = Vec::new();
    if fields.raw("previous_shards").is_some() {
        for (item, path) in fields.list("previous_shards", problems).unwrap_or_default() {
            let fault = match &item.value {
                Value::Scalar(scalar) => match SHARDS.integer(&scalar.text) {
                    Ok(count) => {
                        previous_shards.extend(u32::try_from(count).ok().and_then(NonZeroU32::new));
                        continue;
                    }
                    Err(reason) => not_allowed(scalar, reason, || SHARDS.allowed()),
                },
                _ => wrong_type(&SHARDS.allowed(), item),
            };
            problems.error(&item.place, path, fault);
        }
    }
    let mut placements = BTreeMap::new();
    if fields.raw("placements").is_some() {
        for entry in fields.aliases("placements", problems).unwrap_or_default() {
            let path = format!("placements.{}", entry.key);
            if let Some(spread) = placement(&entry.node, &path, problems) {
                placements.insert(entry.key.clone(), spread);
            }
        }
    }
    Some(Topology {
        contract_version: contract_version?,
        epoch: epoch?,
        shards: shards?,
        previous_shards,
        settled_epoch: settled_epoch?,
        ranks: ranks?,
        placements,
        peers: None,
    })
}

fn peers(node: &Node, contract_version: u32, problems: &mut Problems) -> Option<Peers> {
    let section = if contract_version < CONTRACT_VERSION { &OLDEST_PEERS } else { &PEERS };
    let fields = Fields::open(&[section], node, "peers", problems)?;
    let url = fields.parsed("url", problems, |text| {
        let template = MemberTemplate::new(text)?;
        let is_http = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
        if is_http { Ok(template) } else { Err("must start with `http://` or `https://`".into()) }
    });
    let listen = fields.parsed(listen_key(contract_version), problems, |text| {
        let template = MemberTemplate::new(text)?;
        let port = template.of(0, 0).rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_some() { Ok(template) } else { Err("must end in `:` and a port".into()) }
    });
    let token_file = fields.text("token_file", problems).map(PathBuf::from);
    Some(Peers { url: url?, listen: listen?, token_file: token_file? })
}

fn placement(node: &Node, path: &str, problems: &mut Problems) -> Option<Spread> {
    let fields = Fields::open(&[&PLACEMENT], node, path, problems)?;
    let kind = fields.one_of("type", problems)?;
    let label = fields.text("label", problems);
    let labels = fields.raw("labels").and_then(|_| labels(&fields, problems));
    let query = fields.text("query", problems);
    for (name, wanted) in [("label", "label"), ("labels", "labels"), ("query", "query")] {
        if kind != wanted && fields.raw(name).is_some() {
            fields.conflict(name, format!("is not allowed with `type: {kind}`"), problems);
            return None;
        }
    }
    let mut missing = |name: &'static str, expected: &str| {
        if fields.raw(name).is_none() {
            fields.error(name, Fault::Missing { expected: expected.into() }, problems);
        }
        None
    };
    match kind {
        "label" => label.map(Spread::Label).or_else(|| missing("label", "the name of the label")),
        "labels" => labels.map(Spread::Labels).or_else(|| missing("labels", "the names of the labels")),
        "query" => Some(query.map_or(Spread::Query, Spread::With)),
        _ => Some(Spread::Series),
    }
}

/// Names of labels, sorted: their order means nothing.
fn labels(fields: &Fields<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    let mut labels = fields.texts("labels", problems)?;
    labels.sort();
    labels.dedup();
    if labels.len() < 2 {
        fields.conflict("labels", "must be two or more; of one, write `type: label`", problems);
        return None;
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Topology, String> {
        Topology::parse(&Source::new("topology.yaml", text)).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_full_file_is_understood_and_an_almost_empty_one_means_one_worker() {
        let text = "contract_version: 1\nepoch: 4\nsettled_epoch: 2\nshards: 5\nprevious_shards: [3, 2]\nranks: 2\n\
                    placements:\n  cpu: {type: query}\n  disk: {type: label, label: host}\n  net: {type: series}\n  \
                    mem: {type: query, query: cpu}\n  swap: {type: labels, labels: [rack, host]}\n\
                    peers: {url: 'http://w-r{rank}-{shard}:8491', token_file: /etc/token}\n";
        let topology = parse(text).unwrap();
        assert_eq!((topology.epoch, topology.shards.get(), topology.ranks.get()), (4, 5, 2));
        assert_eq!(topology.previous_shards.iter().map(|count| count.get()).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(*topology.spread("disk"), Spread::Label("host".into()));
        assert_eq!(*topology.spread("cpu"), Spread::Query);
        assert_eq!(*topology.spread("mem"), Spread::With("cpu".into()));
        assert_eq!(*topology.spread("swap"), Spread::Labels(vec!["host".into(), "rack".into()]));
        assert_eq!(*topology.spread("other"), Spread::Series);
        assert_eq!(parse("epoch: 0\n").unwrap(), Topology::default());
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let text = "epoch: -1\nshards: 0\nrank: 2\nprevious_shards: [x]\nplacements:\n  cpu: {type: serie}\n  \
                    disk: {type: label}\n  net: {type: query, label: x}\n  \
                    swap: {type: labels, labels: [x]}\ncontract_version: 0\n";
        let errors = parse(text).unwrap_err();
        for (place, key) in [
            ("1:8", "epoch"),
            ("2:9", "shards"),
            ("3:1", "rank: unknown key; did you mean `ranks`?"),
            ("4:19", "previous_shards[0]"),
            (
                "6:15",
                "placements.cpu.type: `serie`: must be one of `series`, `query`, `label`, `labels`; did you mean `series`?",
            ),
            ("7:9", "placements.disk.label: is required"),
            ("8:29", "placements.net.label: is not allowed with `type: query`"),
            ("9:32", "placements.swap.labels: must be two or more"),
            ("10:19", "contract_version: `0`"),
        ] {
            assert!(errors.contains(&format!("topology.yaml:{place}: {key}")), "{key} in\n{errors}");
        }
        assert_eq!(errors.lines().count(), 9, "{errors}");
    }

    #[test]
    fn a_file_reads_as_it_was_written_in_every_contract_and_not_as_one_of_another() {
        let text = "epoch: 4\nsettled_epoch: 2\nshards: 5\nprevious_shards: [3, 2]\nranks: 2\n\
                    placements: {cpu: {type: query}, disk: {type: label, label: host}, net: {type: series}, \
                    mem: {type: query, query: cpu}, swap: {type: labels, labels: [host, rack]}}\n\
                    peers: {url: 'http://w-r{rank}-{shard}:8491', token_file: /etc/token}\n";
        let versions = OLDEST_CONTRACT_VERSION..=CONTRACT_VERSION;
        for contract_version in versions.clone() {
            let topology = Topology { contract_version, ..parse(text).unwrap() };
            assert_eq!(parse(&topology.text()).unwrap(), topology);
            for other in versions.clone().filter(|other| *other != contract_version) {
                let (named, claimed) = (format!("version: {contract_version}"), format!("version: {other}"));
                let error = parse(&topology.text().replace(&named, &claimed)).unwrap_err();
                assert!(error.contains("peers.") && error.contains("unknown key"), "{error}");
            }
        }
    }

    #[test]
    fn a_file_of_a_newer_contract_is_refused_by_that_alone_and_its_core_is_known() {
        let newer = CONTRACT_VERSION + 1;
        let core = format!(
            "contract_version: {newer}\nepoch: 4\nsettled_epoch: 2\nshards: 5\nprevious_shards: [3]\nranks: 2\n"
        );
        let text = format!("{core}peers: [something, else]\nflavour: vanilla\n");
        let source = Source::new("topology.yaml", text.as_str());
        let error = parse(&text).unwrap_err();
        assert_eq!(error.lines().count(), 1, "{error}");
        let reason = format!(
            "topology.yaml:1:19: contract_version: `{newer}`: newer than this build understands, {CONTRACT_VERSION}"
        );
        assert!(error.contains(&reason), "{error}");
        assert_eq!(Topology::newer_contract(&source), Some(newer));
        let known = Topology::parse_core(&source).unwrap();
        assert_eq!((known.contract_version, known.epoch, known.settled_epoch), (newer, 4, 2));
        assert_eq!((known.shards.get(), known.ranks.get(), known.peers), (5, 2, None));
        assert_eq!(known.previous_shards.iter().map(|count| count.get()).collect::<Vec<_>>(), [3]);

        let own = Source::new("topology.yaml", Topology::default().text());
        assert_eq!(Topology::newer_contract(&own), None);
        // Nothing of the core is guessed.
        for without in ["epoch: 4\n", "settled_epoch: 2\n", "shards: 5\n", "ranks: 2\n"] {
            let text = core.replacen(&format!("\n{without}"), "\n", 1);
            assert_eq!(Topology::parse_core(&Source::new("topology.yaml", text.as_str())), None, "{text}");
        }
        let unknown = format!("{core}placements: {{cpu: {{type: zigzag}}}}\n");
        assert_eq!(Topology::parse_core(&Source::new("topology.yaml", unknown)), None);
    }

    #[test]
    fn workers_reach_each_other_by_templates_that_tell_them_apart() {
        let peers = |shards: u32, ranks: u32, url: &str| {
            parse(&format!("shards: {shards}\nranks: {ranks}\npeers: {{url: '{url}', token_file: /token}}\n"))
        };
        let found = peers(3, 2, "http://w-r{rank}-{shard}.w:8491").unwrap().peers.unwrap();
        assert_eq!(found.url.of(2, 1), "http://w-r1-2.w:8491");
        assert_eq!(found.listen.of(2, 1), "0.0.0.0:8491");
        for (url, wrong) in [
            ("http://w-{shard}", "must have a `url` for each worker"),
            ("http://w-{rank}-{shard}-{epoch}", "no other placeholders"),
            ("w-{rank}-{shard}", "must start with `http://`"),
        ] {
            assert!(peers(3, 2, url).unwrap_err().contains(wrong), "{url}");
        }
        assert!(parse("ranks: 2\n").unwrap_err().contains("peers: is required"));
        assert!(peers(1, 1, "http://w").is_ok());
    }

    #[test]
    fn the_ordinal_is_the_number_at_the_end_of_a_pod_name() {
        assert_eq!(ordinal("vmanomaly-main-7"), Ok(7));
        assert_eq!(ordinal("12"), Ok(12));
        for wrong in ["", "vmanomaly", "name-", "-7", "name-7a", "name-99999999999", "+7", "a-+7"] {
            assert!(ordinal(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in ".*") {
            let _ = (ordinal(&text), parse(&text));
        }
    }
}
