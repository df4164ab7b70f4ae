//! Why a visit has to be repeated.

use crate::kubernetes::apply::ApplyError;
use crate::reconcile::plan::PlanError;

/// Why a visit has to be repeated.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// What was seen is not the newest any more, or somebody else wrote first. Not a failure.
    #[error("seen too early: {0}")]
    Outdated(String),
    /// The API server could not be asked.
    #[error("{action}: {source}")]
    Api {
        /// What was to be done.
        action: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// Children could not be written; the VMAnomaly's status says so, too.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Children(Vec<ApplyError>),
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl ReconcileError {
    /// A failed request.
    pub(crate) fn api(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |source| match &source {
            kube::Error::Api(status) if status.code == 409 => Self::Outdated(format!("{action}: {}", status.message)),
            _ => Self::Api { action, source: Box::new(source) },
        }
    }

    /// Whether it is only a matter of looking again.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        matches!(self, Self::Outdated(_))
    }
}
