//! The Secret with the token by which workers know each other. The operator may create Secrets and nothing else: that
//! one is there already is as good, and what is in it nobody reads but the workers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crds::VMAnomaly;
use crds::status::Reason;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use crate::build::peer_secret::peer_secret;
use crate::kubernetes::apply::{ApplyError, is_conflict};
use crate::names::MANAGER;
use crate::operator::Operator;
use crate::selection::ObjectKey;

/// Length of a token, bytes; it is written in hexadecimal.
const BYTES: usize = 32;

/// How soon it is tried again while a pod does not start, which may be for want of the Secret.
const WHILE_STARTING: Duration = Duration::from_secs(10);

/// When the Secret of a VMAnomaly was last known to be there, by the VMAnomaly's uid.
#[derive(Debug, Default)]
pub struct KnownTokens(Mutex<HashMap<String, Instant>>);

impl KnownTokens {
    /// Whether it is time to make sure that the Secret is there: `starting` says that a pod waits for something.
    #[must_use]
    pub fn is_due(&self, uid: &str, every: Duration, starting: bool) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = if starting { every.min(WHILE_STARTING) } else { every };
        known.get(uid).is_none_or(|at| at.elapsed() >= longest)
    }

    /// Forgets a VMAnomaly: it is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    fn remember(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), Instant::now());
    }
}

/// Creates the Secret, unless it is there.
///
/// # Errors
/// When the system has no randomness, or the API server refuses the Secret.
pub async fn create(operator: &Operator, anomaly: &VMAnomaly) -> Result<(), ApplyError> {
    let namespace = anomaly.namespace().unwrap_or_default();
    let token = token().ok_or_else(|| ApplyError::NoToken { key: ObjectKey::of(anomaly) })?;
    let secret = peer_secret(anomaly, token);
    let key = ObjectKey::of(&secret);
    let api: Api<Secret> = Api::namespaced(operator.client.clone(), &namespace);
    let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    operator.metrics.write("Secret", "create");
    match api.create(&parameters, &secret).await {
        Ok(_) => {
            let note = format!("Secret {key}");
            tracing::info!(anomaly = %ObjectKey::of(anomaly), secret = %key, "token created");
            operator.event(anomaly, false, Reason::PeerTokenCreated.name(), &note).await;
        }
        Err(error) if is_conflict(&error) => {}
        Err(source) => return Err(ApplyError::Refused { kind: "Secret", key, source: Box::new(source) }),
    }
    operator.known_tokens.remember(&anomaly.uid().unwrap_or_default());
    Ok(())
}

/// Bytes of the operating system, in hexadecimal.
fn token() -> Option<String> {
    let mut bytes = [0; BYTES];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert!(one.len() == 64 && one != other, "{one} {other}");
    }

    #[test]
    fn a_secret_that_is_known_is_asked_for_again_after_a_while_and_sooner_when_a_pod_does_not_start() {
        let known = KnownTokens::default();
        assert!(known.is_due("a", Duration::from_secs(300), false));
        known.remember("a");
        assert!(!known.is_due("a", Duration::from_secs(300), true));
        assert!(known.is_due("a", Duration::ZERO, false));
        known.forget("a");
        assert!(known.is_due("a", Duration::from_secs(300), false));
    }
}
