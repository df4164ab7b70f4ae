//! Names of classes: a short alias and dotted paths, as vmanomaly spells them.

use crate::fields::{shown, wrong_type};
use crate::problem::{Fault, Problems};
use crate::suggestion::nearest;
use crate::tree::{Node, Value, join};

/// A class of vmanomaly.
pub(crate) struct Class {
    /// Short name first, then every other spelling.
    pub(crate) names: &'static [&'static str],
    pub(crate) support: ClassSupport,
}

#[derive(Clone, Copy)]
pub(crate) enum ClassSupport {
    Full,
    /// Works as the class of this name; deprecated.
    As(&'static str),
    NotYet,
}

const fn full(names: &'static [&'static str]) -> Class {
    Class { names, support: ClassSupport::Full }
}

const fn deprecated(names: &'static [&'static str], replacement: &'static str) -> Class {
    Class { names, support: ClassSupport::As(replacement) }
}

const fn not_yet(names: &'static [&'static str]) -> Class {
    Class { names, support: ClassSupport::NotYet }
}

pub(crate) const MODELS: &[Class] = &[
    full(&["calibrated"]),
    full(&["zscore_online", "model.online.OnlineZscoreModel"]),
    full(&["mad_online", "model.online.OnlineMADModel"]),
    deprecated(&["zscore", "model.zscore.ZscoreModel"], "zscore_online"),
    deprecated(&["mad", "model.mad.MADModel"], "mad_online"),
    full(&["quantile_online", "model.online.OnlineQuantileModel"]),
    full(&["rolling_quantile", "model.online.RollingQuantileModel"]),
    deprecated(&["model.rolling_quantile.RollingQuantileModel"], "rolling_quantile"),
    full(&["std", "model.online.StdModel"]),
    deprecated(&["model.std.StdModel"], "std"),
    full(&["temporal_envelope", "model.online.TemporalEnvelopeModel"]),
    full(&["calibrated_multivariate"]),
    full(&["temporal_envelope_multivariate", "model.online.TemporalEnvelopeMultivariateModel"]),
    full(&["prophet", "model.prophet.ProphetModel"]),
    full(&["holtwinters", "model.holtwinters.HoltWinters"]),
    full(&["isolation_forest", "isolation_forest_univariate", "model.isolation_forest.IsolationForestModel"]),
    full(&["isolation_forest_multivariate", "model.isolation_forest.IsolationForestMultivariateModel"]),
    full(&["auto", "model.auto.AutoTunedModel"]),
    not_yet(&["custom", "model.custom.CustomModel"]),
];

pub(crate) const SCHEDULERS: &[Class] = &[
    full(&["periodic", "scheduler.periodic.PeriodicScheduler"]),
    not_yet(&["oneoff", "scheduler.oneoff.OneoffScheduler"]),
    not_yet(&["backtesting", "scheduler.backtesting.BacktestingScheduler"]),
    not_yet(&["noop"]),
];

pub(crate) const READERS: &[Class] = &[
    full(&["vm", "reader.vm.VmReader"]),
    not_yet(&["vlogs", "reader.vlogs.VLogsReader"]),
    not_yet(&["synthetic_vm", "reader.synthetic.SyntheticVmReader"]),
    not_yet(&["noop"]),
];

pub(crate) const WRITERS: &[Class] = &[full(&["vm", "writer.vm.VmWriter"]), not_yet(&["noop"])];

/// Short names of the classes that work and are not deprecated.
pub(crate) fn supported(classes: &'static [Class]) -> Vec<&'static str> {
    let full = classes.iter().filter(|class| matches!(class.support, ClassSupport::Full));
    full.filter_map(|class| class.names.first().copied()).collect()
}

fn expected(classes: &'static [Class]) -> String {
    let names: Vec<String> = supported(classes).iter().map(|name| format!("`{name}`")).collect();
    names.join(" or ")
}

/// The short name of the class that a section asks for, if it works. `default` holds when none is written; without
/// one that is an error.
pub(crate) fn resolve(
    kind: &'static str,
    classes: &'static [Class],
    section: &Node,
    path: &str,
    default: Option<&'static str>,
    problems: &mut Problems,
) -> Option<&'static str> {
    let path = join(path, "class");
    let node = section.get("class").filter(|node| node.value != Value::Null);
    let Some(node) = node else {
        if default.is_none() {
            problems.error(&section.place, path, Fault::Missing { expected: expected(classes) });
        }
        return default;
    };
    resolve_name(kind, classes, node, path, problems)
}

/// The short name of the class that a value names, if it works.
pub(crate) fn resolve_name(
    kind: &'static str,
    classes: &'static [Class],
    node: &Node,
    path: String,
    problems: &mut Problems,
) -> Option<&'static str> {
    let scalar = match &node.value {
        Value::Scalar(scalar) => scalar,
        Value::Faulty => return None,
        _ => {
            problems.error(&node.place, path, wrong_type(&expected(classes), node));
            return None;
        }
    };
    let name = scalar.text.as_str();
    let Some(class) = classes.iter().find(|class| class.names.contains(&name)) else {
        let names = classes.iter().flat_map(|class| class.names.iter().copied());
        let fault = Fault::UnknownClass {
            kind,
            found: shown(scalar),
            nearest: nearest(name, names).map(str::to_owned),
            supported: supported(classes),
        };
        problems.error(&node.place, path, fault);
        return None;
    };
    match class.support {
        ClassSupport::Full => class.names.first().copied(),
        ClassSupport::As(replacement) => {
            let message = format!("`{name}` is deprecated and works as `{replacement}`: write that");
            problems.warn(&node.place, path, message);
            Some(replacement)
        }
        ClassSupport::NotYet => {
            let fault = Fault::NotSupportedYet { what: name.to_owned(), supported: supported(classes) };
            problems.error(&node.place, path, fault);
            None
        }
    }
}
