//! What models and queries report, and the closed set of conditions and reasons of all kinds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the VMAnomalies that select the object make of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BindingStatus {
    /// Generation of the object that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds, by type: Ready sums up the bindings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many VMAnomalies select it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selected_by: Option<i32>,
    /// What each VMAnomaly that selects it makes of it, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace", "name"]))]
    pub bindings: Vec<Binding>,
}

/// What one VMAnomaly makes of a model or query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// Namespace of the VMAnomaly.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the VMAnomaly.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Under which alias it is configured, which outputs carry in the label `for` or `model_alias`.
    #[schemars(length(max = 127))]
    pub alias: String,
    /// The shard that reads the query, for queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<i32>,
    /// Conditions of the binding: `Accepted`.
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Declares a closed set of names together with what they mean: the documentation's tables are made of it.
macro_rules! described {
    ($(#[doc = $about:literal])+ $set:ident { $($(#[doc = $doc:literal])+ $name:ident,)+ }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $set {
            $($(#[doc = $doc])+ $name,)+
        }

        impl $set {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// As it is written.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What it means.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc,)+).trim_ascii(),)+
                }
            }
        }
    };
}

described! {
    /// Types of conditions.
    ConditionType {
        /// Sums up the others, of every kind: whether all that was asked for is done, as far as it can be.
        Ready,
        /// The configuration that the objects make is valid (VMAnomaly).
        ConfigValid,
        /// Every shard has a worker that answers and has restored its state (VMAnomaly).
        Available,
        /// Something is on its way: pods, configuration, first fits (VMAnomaly).
        Progressing,
        /// Something works less well than it was asked to. True is bad (VMAnomaly).
        Degraded,
        /// Series are on their way to other shards, or replicas go. True while it lasts; series are scored throughout (VMAnomaly).
        Resharding,
        /// Nothing will change without somebody's help. Present only when true, for tools that compute a status from it
        /// (VMAnomaly).
        Stalled,
        /// The VMAnomaly uses the object (bindings of AnomalyModel and AnomalyQuery).
        Accepted,
    }
}

/// The same for reasons, each with what to do.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident => $remedy:literal,)+) => {
        described! {
            /// Why a condition has its status. A closed set: tools may match on it.
            Reason { $($(#[doc = $doc])+ $name,)+ }
        }

        impl Reason {
            /// What to do about it.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$name => $remedy,)+
                }
            }
        }
    };
}

reasons! {
    /// Everything that was asked for is done.
    AsConfigured => "Nothing.",
    /// No query is selected; workers run idle.
    NoQueriesSelected => "Create an AnomalyQuery, or correct `spec.querySelector`.",
    /// `spec.modelSelector` selects no model; all queries have the default one, `calibrated`.
    NoModelsSelected => "Create an AnomalyModel, or correct or remove `spec.modelSelector`.",
    /// `spec.paused` is true: nothing is created, changed or deleted.
    Paused => "Set `spec.paused` to false to go on.",
    /// The configuration has an error; the one before stays in effect.
    InvalidConfig => "Correct what the message names.",
    /// The configuration is larger than a ConfigMap can hold, even compressed.
    ConfigTooLarge => "Split the queries over several VMAnomalies.",
    /// The configuration is checked by the workers only, because it comes from a Secret or from environment variables.
    CheckedByWorkers => "Nothing.",
    /// Some selected objects cannot be used; the others are.
    ObjectsRejected => "See the status of the objects that the message names.",
    /// Workers are being started or replaced.
    WorkersStarting => "Wait; if it lasts, `kubectl describe` the pods that the message names.",
    /// Workers restore their state.
    RestoringState => "Wait.",
    /// Workers do not have the newest configuration or topology yet.
    ConfigPropagating => "Wait some seconds; if it lasts, see the log of the pods that the message names.",
    /// A worker refuses the configuration and keeps the one before.
    ConfigRefusedByWorker => "Correct what the message says; for a raw configuration, the file.",
    /// Jobs learn from history; there are no scores of them yet.
    FirstFit => "Wait; `/status` of the workers shows every job.",
    /// Jobs wait for the time series database.
    StandingStill => "Make the database answer; nothing is lost meanwhile up to `settings.maxCatchUp`.",
    /// Jobs work off ticks that they missed.
    CatchingUp => "Wait.",
    /// The time series database rejects a query, in the words of the message.
    QueryRejected => "Correct the expression.",
    /// The time series database refuses scores for good, in the words of the message.
    ScoresRejected => "Correct `spec.writer`, or the limits of the database.",
    /// A query returns more series than `seriesLimit` allows; what is beyond is not watched.
    SeriesLimitReached => "Raise `seriesLimit`, or make the expression return less.",
    /// Series are refused, because they would write the output of another series, or are scores themselves.
    OutputsCollide => "Make the expressions disjoint, or change `writer.metricFormat`.",
    /// The series of a query only grow, as counters do, and its expression does not ask how fast: their level says little.
    CountersWithoutRate => "Ask for the rate, as in `rate(metric[5m])`; nothing, if the series are no counters.",
    /// A query has more series than its `falseAlarmsPerDay` is enough for: each of them has 0.001 a day, the fewest there is.
    AlarmBudgetTooSmall => "Raise `falseAlarmsPerDay`, or make the expression return less.",
    /// A worker understands no version of the contract that this operator writes; configuration and topology stay as they are.
    WorkerTooOld => "Use a newer image for the workers, or an older operator.",
    /// The topology is written in another version of the contract between operator and workers, because workers of another release have come or gone (event).
    ContractChanged => "Nothing.",
    /// A newer operator wrote the configuration; this one keeps away from it.
    NewerOperator => "Use the newer operator, or start this one with --allow-downgrade.",
    /// Series are on their way to other shards; they are scored meanwhile.
    ShardsChanging => "Wait.",
    /// Series are on their way to other shards, and a worker does not answer or does not have the new topology yet.
    WaitingForWorkers => "Wait some seconds; if it lasts, `kubectl describe` the pods that the message names, and see their log.",
    /// Series have not come to where they belong within `settings.handoverTimeout`. A newer `spec.shards` does not wait any more; pods that hold series of others stay while they answer.
    HandoverTimedOut => "Make the workers that the message names answer.",
    /// The number of shards is settled.
    ShardsSettled => "Nothing.",
    /// Replicas go as soon as the workers that stay have followed; one that does not answer is waited for as long as `settings.handoverTimeout` says.
    ReplicasGoing => "Wait.",
    /// The pods of one replica after the other are replaced; the others wait for the one that the message names.
    ReplicaUpdating => "Wait; if it lasts, `kubectl describe` the pods that the message names. A further change of the object, also back to what it was, is applied to that replica at once.",
    /// The Secret with the token by which workers know each other was created, or created again (event).
    PeerTokenCreated => "Nothing.",
    /// An object with the name of a child belongs to somebody else.
    NameTaken => "Rename or delete the object that the message names.",
    /// A child object could not be written.
    ApplyFailed => "See the message; it is tried again.",
    /// The object as it is stored cannot be read by this operator: it was made with another version of the definitions.
    Undecodable => "Correct what the message names, or install the definitions and the operator of one release.",
    /// No VMAnomaly selects the object.
    NotSelected => "Create a VMAnomaly, or correct its selectors, if the object should be used.",
    /// The VMAnomaly uses the object; a query that no model asks for with the default model.
    Used => "Nothing.",
    /// The VMAnomaly that selects the object was not looked at yet, or has no valid configuration.
    Pending => "See the status of the VMAnomaly.",
    /// A query that the model names is not there, or not selected by the VMAnomaly.
    QueryNotFound => "Create the query, or correct the name.",
    /// A scheduler that the model names is not there.
    SchedulerNotFound => "Correct the name, or add the scheduler to the VMAnomaly.",
    /// No query is left for the model.
    NoQueries => "Create a query, or correct `spec.queries`.",
    /// The models that ask for the query are all rejected, so none watches it.
    NoModels => "See the status of these models.",
    /// Another object has the same alias; the older one is used.
    AliasTaken => "Give one of them another `alias`.",
    /// A value is not allowed, in the words of the message.
    InvalidValue => "Correct the value.",
}
