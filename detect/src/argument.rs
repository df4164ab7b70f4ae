//! Arguments of models and their ranges.

/// An argument outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{argument} of {class} is {value}, it must be {range}")]
pub struct ArgumentError {
    /// Name of the model class.
    pub class: &'static str,
    /// Name of the argument.
    pub argument: &'static str,
    /// Its value, as a person would write it.
    pub value: String,
    /// What it must be.
    pub range: &'static str,
}

/// Checks the arguments of one class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arguments(pub(crate) &'static str);

impl Arguments {
    /// Refuses `value` unless it `holds`.
    pub(crate) fn require(
        self,
        argument: &'static str,
        value: impl ToString,
        range: &'static str,
        holds: bool,
    ) -> Result<(), ArgumentError> {
        if holds {
            return Ok(());
        }
        Err(ArgumentError { class: self.0, argument, value: value.to_string(), range })
    }

    /// A factor or a width.
    pub(crate) fn require_positive(self, argument: &'static str, value: f64) -> Result<(), ArgumentError> {
        self.require(argument, value, "finite and above 0", value.is_finite() && value > 0.0)
    }

    /// What online models that forget have in common.
    pub(crate) fn require_online(self, decay: f64, history_strength: f64) -> Result<(), ArgumentError> {
        self.require("decay", decay, "above 0 and at most 1", decay > 0.0 && decay <= 1.0)?;
        self.require_positive("history_strength", history_strength)
    }
}
