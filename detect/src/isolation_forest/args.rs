//! The arguments of the isolation forests, and how they are read from a configuration.

use std::fmt;
use std::str::FromStr;

use super::{MAX_ESTIMATORS, MAX_SAMPLES};
use crate::argument::{ArgumentError, Arguments};

/// Arguments of `isolation_forest` and `isolation_forest_multivariate`. All of them act on the fit.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IsolationForestArgs {
    /// Where the line between normal and anomalous is drawn.
    pub contamination: Contamination,
    /// What the time of a point tells the forest, each at most once; none by default.
    pub seasonal_features: Vec<SeasonalFeature>,
    /// The inner `args`: how the trees are grown.
    pub growth: GrowthArgs,
}

/// Arguments of the trees, with the names and meanings of scikit-learn's `IsolationForest`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GrowthArgs {
    /// Number of trees; 1 to [`MAX_ESTIMATORS`].
    pub n_estimators: u32,
    /// Rows that each tree is grown from.
    pub max_samples: MaxSamples,
    /// Features that each tree may split by, drawn for the tree.
    pub max_features: MaxFeatures,
    /// Whether a tree's rows are drawn with replacement. A row that is drawn twice counts once, as in scikit-learn.
    pub bootstrap: bool,
    /// Seed of the fit; `None` is the seed that the model was made with.
    pub random_state: Option<u32>,
}

impl Default for GrowthArgs {
    /// The defaults of scikit-learn.
    fn default() -> Self {
        Self {
            n_estimators: 100,
            max_samples: MaxSamples::Auto,
            max_features: MaxFeatures::Share(1.0),
            bootstrap: false,
            random_state: None,
        }
    }
}

/// The share of a fit's rows that are outliers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Contamination {
    /// The line of the original paper: rows that are isolated sooner than the average row of a random tree.
    #[default]
    Auto,
    /// As many rows of the fit as this share, in (0, 0.5].
    Share(f64),
}

/// Rows that a tree is grown from; never more than the fit has or than [`MAX_SAMPLES`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum MaxSamples {
    /// 256.
    #[default]
    Auto,
    /// This many, 1 to [`MAX_SAMPLES`].
    Number(u32),
    /// This share of the fit's rows, in (0, 1], rounded down, at least one.
    Share(f64),
}

/// Features that a tree may split by; never more than there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxFeatures {
    /// This many, at least 1.
    Number(u32),
    /// This share of all, in (0, 1], rounded down, at least one.
    Share(f64),
}

/// A cycle of civil time, seen by the forest as the sine and the cosine of its angle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeasonalFeature {
    /// `minute`: 0 to 59, of an hour.
    Minute,
    /// `hod`: the hour of the day, 0 to 23.
    HourOfDay,
    /// `dow`: the day of the week, 1 (Monday) to 7.
    DayOfWeek,
    /// `month`: 1 to 12, of a year.
    Month,
}

impl IsolationForestArgs {
    /// Checks every argument against its range. `class` is the one that the message names.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self, class: &'static str) -> Result<(), ArgumentError> {
        let arguments = Arguments(class);
        let holds = match self.contamination {
            Contamination::Auto => true,
            Contamination::Share(share) => share > 0.0 && share <= 0.5,
        };
        arguments.require("contamination", self.contamination, "auto, or above 0 and at most 0.5", holds)?;
        let features = &self.seasonal_features;
        let repeated = features.iter().enumerate().find(|(at, feature)| features[..*at].contains(feature));
        if let Some((_, feature)) = repeated {
            return arguments.require("seasonal_features", format!("{feature} twice"), "each at most once", false);
        }
        self.growth.validate(arguments)
    }

    /// Rows that a window must have for trees of as many rows as they may have; at least 2.
    pub(crate) fn needed_samples(&self) -> u64 {
        self.growth.samples_of_tree().max(2)
    }

    /// The arguments that act on the fit; see [`crate::spec::ModelSpec::learning_signature`].
    pub(crate) fn learning_signature(&self) -> String {
        let Self { contamination, seasonal_features, growth } = self;
        let GrowthArgs { n_estimators, max_samples, max_features, bootstrap, random_state } = growth;
        let features: Vec<&str> = seasonal_features.iter().map(|feature| feature.name()).collect();
        let features = features.join(",");
        let seed = random_state.map_or("none".to_owned(), |seed| seed.to_string());
        format!(
            "contamination={contamination} seasonal_features=[{features}] n_estimators={n_estimators} \
             max_samples={max_samples} max_features={max_features} bootstrap={bootstrap} random_state={seed}"
        )
    }
}

impl GrowthArgs {
    /// Rows that a tree is grown from where there are as many; 0 if it has a share of any window.
    pub(super) fn samples_of_tree(&self) -> u64 {
        match self.max_samples {
            MaxSamples::Auto => 256,
            MaxSamples::Number(number) => u64::from(number.clamp(1, MAX_SAMPLES)),
            MaxSamples::Share(_) => 0,
        }
    }

    fn validate(&self, arguments: Arguments) -> Result<(), ArgumentError> {
        let is_share = |share: f64| share > 0.0 && share <= 1.0;
        let holds = (1..=MAX_ESTIMATORS).contains(&self.n_estimators);
        arguments.require("args.n_estimators", self.n_estimators, "from 1 to 1000", holds)?;
        let holds = match self.max_samples {
            MaxSamples::Auto => true,
            MaxSamples::Number(number) => (1..=MAX_SAMPLES).contains(&number),
            MaxSamples::Share(share) => is_share(share),
        };
        let range = "auto, a whole number from 1 to 32768, or a share above 0.0 and at most 1.0";
        arguments.require("args.max_samples", self.max_samples, range, holds)?;
        let holds = match self.max_features {
            MaxFeatures::Number(number) => number >= 1,
            MaxFeatures::Share(share) => is_share(share),
        };
        let range = "a whole number from 1, or a share above 0.0 and at most 1.0";
        arguments.require("args.max_features", self.max_features, range, holds)
    }

    /// Sets the argument with this name in scikit-learn. `n_jobs`, `verbose` and `warm_start` are accepted and have no effect: a
    /// fit is one job that starts from nothing. The ranges are checked by [`IsolationForestArgs::validate`].
    ///
    /// # Errors
    /// If there is no such argument, or the value is of no kind that it takes.
    pub fn set(&mut self, name: &str, value: Value<'_>) -> Result<(), GrowthArgsError> {
        let wrong = |argument, expected| Err(GrowthArgsError::Value { argument, value: value.to_string(), expected });
        match (name, value) {
            ("n_jobs" | "verbose" | "warm_start", _) => {}
            ("n_estimators", Value::Integer(number)) => self.n_estimators = saturating(number),
            ("n_estimators", _) => return wrong("n_estimators", "a whole number"),
            ("max_samples", Value::Text("auto")) => self.max_samples = MaxSamples::Auto,
            ("max_samples", Value::Integer(number)) => self.max_samples = MaxSamples::Number(saturating(number)),
            ("max_samples", Value::Float(share)) => self.max_samples = MaxSamples::Share(share),
            ("max_samples", _) => return wrong("max_samples", "auto, a whole number or a share"),
            ("max_features", Value::Integer(number)) => self.max_features = MaxFeatures::Number(saturating(number)),
            ("max_features", Value::Float(share)) => self.max_features = MaxFeatures::Share(share),
            ("max_features", _) => return wrong("max_features", "a whole number or a share"),
            ("bootstrap", Value::Boolean(bootstrap)) => self.bootstrap = bootstrap,
            ("bootstrap", _) => return wrong("bootstrap", "true or false"),
            ("random_state", Value::Null) => self.random_state = None,
            ("random_state", Value::Integer(seed)) if u32::try_from(seed).is_ok() => {
                self.random_state = u32::try_from(seed).ok();
            }
            ("random_state", _) => return wrong("random_state", "null or a whole number from 0 to 4294967295"),
            _ => return Err(GrowthArgsError::Unknown { name: name.to_owned(), nearest: nearest(name) }),
        }
        Ok(())
    }
}

/// The names that [`GrowthArgs::set`] knows.
const NAMES: [&str; 8] =
    ["n_estimators", "max_samples", "max_features", "bootstrap", "random_state", "n_jobs", "verbose", "warm_start"];

/// The most similar name. There always is one: the list is short enough to be worth a hint for any name.
fn nearest(name: &str) -> &'static str {
    let similarity = |candidate: &&str| strsim::jaro_winkler(&name.to_lowercase(), candidate);
    NAMES.into_iter().max_by(|one, other| similarity(one).total_cmp(&similarity(other))).unwrap_or(NAMES[0])
}

/// A whole number as a `u32`, or the nearest that there is: out of every argument's range if it was.
fn saturating(number: i64) -> u32 {
    number.clamp(0, u32::MAX.into()) as u32
}

/// A value of the inner `args`, as a configuration holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number that was written without a point: a count.
    Integer(i64),
    /// A number that was written with a point: a share.
    Float(f64),
    /// Anything else.
    Text(&'a str),
}

/// Why an inner argument is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrowthArgsError {
    /// There is no argument of this name.
    #[error("args has no {name}; did you mean {nearest}?")]
    Unknown {
        /// The name.
        name: String,
        /// The most similar one that there is.
        nearest: &'static str,
    },
    /// The value is of the wrong kind.
    #[error("args.{argument} is {value}, it must be {expected}")]
    Value {
        /// The name.
        argument: &'static str,
        /// The value.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
}

/// A text that stands for no value of an argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct UnknownText {
    /// The text.
    pub text: String,
    /// What it should be.
    pub expected: &'static str,
}

impl FromStr for Contamination {
    type Err = UnknownText;

    /// Reads `auto` or a number.
    fn from_str(text: &str) -> Result<Self, UnknownText> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let number = text.trim().parse().map(Self::Share);
        number.map_err(|_| UnknownText { text: text.to_owned(), expected: "auto or a number" })
    }
}

impl SeasonalFeature {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Minute, Self::HourOfDay, Self::DayOfWeek, Self::Month];

    /// Its name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::HourOfDay => "hod",
            Self::DayOfWeek => "dow",
            Self::Month => "month",
        }
    }
}

impl FromStr for SeasonalFeature {
    type Err = UnknownText;

    fn from_str(text: &str) -> Result<Self, UnknownText> {
        let found = Self::ALL.into_iter().find(|feature| feature.name() == text);
        found.ok_or_else(|| UnknownText { text: text.to_owned(), expected: "minute, hod, dow or month" })
    }
}

impl fmt::Display for SeasonalFeature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for Contamination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Share(share) => write!(formatter, "{share:?}"),
        }
    }
}

impl fmt::Display for MaxSamples {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Share(share) => write!(formatter, "{share:?}"),
        }
    }
}

impl fmt::Display for MaxFeatures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Share(share) => write!(formatter, "{share:?}"),
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("null"),
            Self::Boolean(value) => write!(formatter, "{value}"),
            Self::Integer(value) => write!(formatter, "{value}"),
            Self::Float(value) => write!(formatter, "{value:?}"),
            Self::Text(value) => write!(formatter, "{value:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: &str = "isolation_forest";

    fn message(change: impl FnOnce(&mut IsolationForestArgs)) -> String {
        let mut args = IsolationForestArgs::default();
        change(&mut args);
        args.validate(CLASS).unwrap_err().to_string()
    }

    fn set(name: &str, value: Value<'_>) -> Result<GrowthArgs, GrowthArgsError> {
        let mut args = GrowthArgs::default();
        args.set(name, value).map(|()| args)
    }

    #[test]
    fn an_argument_outside_its_range_is_named() {
        assert_eq!(IsolationForestArgs::default().validate(CLASS), Ok(()));
        let contamination = |share| message(|args| args.contamination = Contamination::Share(share));
        let range = "it must be auto, or above 0 and at most 0.5";
        assert_eq!(contamination(0.51), format!("contamination of isolation_forest is 0.51, {range}"));
        assert!([0.0, f64::NAN, f64::INFINITY].map(contamination).iter().all(|text| text.starts_with("contamination")));
        let twice = message(|args| args.seasonal_features = vec![SeasonalFeature::Month, SeasonalFeature::Month]);
        assert_eq!(twice, "seasonal_features of isolation_forest is month twice, it must be each at most once");
        assert!(message(|args| args.growth.n_estimators = 0).starts_with("args.n_estimators"));
        assert!(message(|args| args.growth.n_estimators = MAX_ESTIMATORS + 1).starts_with("args.n_estimators"));
        for wrong in [MaxSamples::Number(0), MaxSamples::Number(MAX_SAMPLES + 1), MaxSamples::Share(1.1)] {
            assert!(message(|args| args.growth.max_samples = wrong).starts_with("args.max_samples"));
        }
        for wrong in [MaxFeatures::Number(0), MaxFeatures::Share(0.0), MaxFeatures::Share(f64::NAN)] {
            assert!(message(|args| args.growth.max_features = wrong).starts_with("args.max_features"));
        }
    }

    #[test]
    fn contamination_is_auto_a_number_or_the_text_of_a_number() {
        assert_eq!("auto".parse(), Ok(Contamination::Auto));
        assert_eq!("0.01".parse(), Ok(Contamination::Share(0.01)));
        let error = "some".parse::<Contamination>().unwrap_err().to_string();
        assert_eq!(error, "\"some\" is not auto or a number");
        let infinite = "inf".parse().unwrap();
        assert!(message(|args| args.contamination = infinite).starts_with("contamination"));
    }

    #[test]
    fn inner_arguments_have_the_kinds_of_scikit_learn() {
        assert_eq!(set("n_estimators", Value::Integer(7)).unwrap().n_estimators, 7);
        assert_eq!(set("n_estimators", Value::Integer(-7)).unwrap().n_estimators, 0);
        assert_eq!(set("max_samples", Value::Integer(1)).unwrap().max_samples, MaxSamples::Number(1));
        assert_eq!(set("max_samples", Value::Float(1.0)).unwrap().max_samples, MaxSamples::Share(1.0));
        assert_eq!(set("max_samples", Value::Text("auto")).unwrap().max_samples, MaxSamples::Auto);
        assert_eq!(set("max_features", Value::Float(0.5)).unwrap().max_features, MaxFeatures::Share(0.5));
        assert!(set("bootstrap", Value::Boolean(true)).unwrap().bootstrap);
        assert_eq!(set("random_state", Value::Integer(0)).unwrap().random_state, Some(0));
        for ignored in ["n_jobs", "verbose", "warm_start"] {
            assert_eq!(set(ignored, Value::Integer(-1)), Ok(GrowthArgs::default()));
        }
    }

    #[test]
    fn an_inner_argument_that_is_none_is_refused_with_the_nearest_that_is() {
        let message = |name, value| set(name, value).unwrap_err().to_string();
        assert_eq!(message("n_estimator", Value::Integer(7)), "args has no n_estimator; did you mean n_estimators?");
        assert_eq!(message("Bootstraps", Value::Null), "args has no Bootstraps; did you mean bootstrap?");
        assert_eq!(message("bootstrap", Value::Text("no")), "args.bootstrap is \"no\", it must be true or false");
        assert!(message("random_state", Value::Integer(-1)).starts_with("args.random_state is -1"));
        assert!(message("n_estimators", Value::Float(0.5)).starts_with("args.n_estimators is 0.5"));
    }

    #[test]
    fn the_signature_has_every_argument_that_acts_on_the_fit() {
        let args = IsolationForestArgs {
            contamination: Contamination::Share(0.1),
            seasonal_features: vec![SeasonalFeature::HourOfDay, SeasonalFeature::DayOfWeek],
            growth: GrowthArgs { random_state: Some(7), ..GrowthArgs::default() },
        };
        let expected = "contamination=0.1 seasonal_features=[hod,dow] n_estimators=100 max_samples=auto max_features=1.0 \
                        bootstrap=false random_state=7";
        assert_eq!(args.learning_signature(), expected);
    }
}
