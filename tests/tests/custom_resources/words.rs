//! What the server says when it refuses.

/// A refusal: its HTTP status, and what it says about which field.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) message: String,
    pub(crate) causes: Vec<(String, String)>,
}

impl Refusal {
    pub(crate) fn of(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else { panic!("no answer of the server: {error}") };
        let causes = status.details.into_iter().flat_map(|details| details.causes);
        Self {
            code: status.code,
            message: status.message,
            causes: causes.map(|cause| (cause.field, cause.message)).collect(),
        }
    }

    /// Whether it is an invalid `field`, with these words.
    pub(crate) fn says(&self, field: &str, words: &str) -> bool {
        self.code == 422 && self.causes.iter().any(|(of, message)| of == field && message.contains(words))
    }
}
