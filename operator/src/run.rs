//! Watches, visits, polls and serves until it is told to stop.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crds::status::ConditionType;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::{NamespaceResourceScope, Resource};
use kube::runtime::controller::{Action, ReconcileRequest, applier};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{Semaphore, mpsc};

use crate::build::config::{path_prefix, server_port};
use crate::kubernetes::index::Index;
use crate::operator::{Guarded, Operator, Triggered};
use crate::reconcile::anomaly::{self, Next};
use crate::reconcile::binding;
use crate::reconcile::error::ReconcileError;
use crate::selection::ObjectKey;
use crate::status::condition::find;
use crate::watch::owner_of_pod;
use crate::workers::poll::Target;

/// Changes within this time are one visit: objects are often applied many at a time.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// The wait after the first failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// The wait for the watches after something was seen too early.
const OUTDATED_WAIT: Duration = Duration::from_millis(250);

/// Visits whatever is asked for, polls the workers, for good.
pub async fn work(operator: Arc<Operator>, triggered: Triggered) {
    let permits = Arc::new(Semaphore::new(operator.settings.concurrency.max(1)));
    let mut tasks: Vec<BoxFuture<'static, ()>> = vec![poll(Arc::clone(&operator)).boxed()];
    let anomalies = operator.objects.anomalies.clone();
    tasks.extend(visits(&operator, &permits, &anomalies, triggered.anomalies, |operator, guard| {
        async move { anomaly::visit(&operator, &guard).await }.boxed()
    }));
    let models = operator.objects.models.clone();
    tasks.extend(visits(&operator, &permits, &models, triggered.models, |operator, guard| {
        async move { binding::visit(&operator, &guard).await }.boxed()
    }));
    let queries = operator.objects.queries.clone();
    tasks.extend(visits(&operator, &permits, &queries, triggered.queries, |operator, guard| {
        async move { binding::visit(&operator, &guard).await }.boxed()
    }));
    stream::iter(tasks).for_each_concurrent(None, |task| task).await;
}

/// Waits between repeated visits of objects that fail, for each object its own.
#[derive(Debug, Default)]
struct Backoff(Mutex<HashMap<ObjectKey, u32>>);

impl Backoff {
    fn after_failure(&self, key: &ObjectKey) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.clone()).or_default();
        let wait = FIRST_WAIT.saturating_mul(1_u32 << (*count).min(16)).min(LONGEST_WAIT);
        *count += 1;
        wait
    }

    fn reset(&self, key: &ObjectKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

type Visited = BoxFuture<'static, Result<Next, ReconcileError>>;

/// One queue of visits for each part of the scope; all share the permits.
fn visits<K>(
    operator: &Arc<Operator>,
    permits: &Arc<Semaphore>,
    index: &Index<Guarded<K>>,
    mut requests: mpsc::UnboundedReceiver<ObjectKey>,
    visit: fn(Arc<Operator>, Arc<Guarded<K>>) -> Visited,
) -> Vec<BoxFuture<'static, ()>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let mut tasks: Vec<BoxFuture<'static, ()>> = Vec::new();
    let mut routes = HashMap::new();
    for (part, store) in index.stores() {
        let (sender, receiver) = mpsc::unbounded_channel::<ObjectKey>();
        routes.insert(part.map(ToOwned::to_owned), sender);
        let queue = stream::unfold(receiver, async |mut receiver| {
            let key = receiver.recv().await?;
            let reference = ObjectRef::<Guarded<K>>::new(&key.name).within(&key.namespace);
            Some((Ok::<_, std::convert::Infallible>(ReconcileRequest::from(reference)), receiver))
        });
        let context = Arc::new((Arc::clone(operator), Arc::clone(permits), Backoff::default()));
        let config = kube::runtime::controller::Config::default().debounce(DEBOUNCE);
        let reconcile = move |guard: Arc<Guarded<K>>, context: Arc<(Arc<Operator>, Arc<Semaphore>, Backoff)>| {
            reconcile(guard, context, visit).boxed()
        };
        let failed = |guard: Arc<Guarded<K>>, error: &ReconcileError, context: Arc<(Arc<Operator>, _, Backoff)>| {
            let wait =
                if error.is_outdated() { OUTDATED_WAIT } else { context.2.after_failure(&ObjectKey::of(&*guard)) };
            Action::requeue(wait)
        };
        let stream = applier(reconcile, failed, context, store.clone(), queue, config);
        tasks.push(stream.for_each(|_| std::future::ready(())).boxed());
    }
    tasks.push(
        async move {
            while let Some(key) = requests.recv().await {
                let route = routes.get(&None).or_else(|| routes.get(&Some(key.namespace.clone())));
                if let Some(route) = route {
                    let _ = route.send(key);
                }
            }
        }
        .boxed(),
    );
    tasks
}

async fn reconcile<K>(
    guard: Arc<Guarded<K>>,
    context: Arc<(Arc<Operator>, Arc<Semaphore>, Backoff)>,
    visit: fn(Arc<Operator>, Arc<Guarded<K>>) -> Visited,
) -> Result<Action, ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
{
    let (operator, permits, backoff) = &*context;
    // The semaphore is never closed.
    let _permit = permits.acquire().await;
    let _in_flight = operator.metrics.begin_visit();
    let began = Instant::now();
    let key = ObjectKey::of(&*guard);
    let kind = K::kind(&());
    let result = visit(Arc::clone(operator), guard).await;
    let name = match &result {
        Ok(_) => "success",
        Err(error) if error.is_outdated() => "outdated",
        Err(_) => "error",
    };
    operator.metrics.visit(&kind, name, began.elapsed());
    match &result {
        Ok(_) => {
            backoff.reset(&key);
            tracing::debug!(%kind, object = %key, took = ?began.elapsed(), "visited");
        }
        Err(error) if error.is_outdated() => tracing::debug!(%kind, object = %key, %error, "to be visited again"),
        Err(error) => tracing::warn!(%kind, object = %key, %error, "visit failed"),
    }
    Ok(match result? {
        Next::OnChange => Action::await_change(),
        Next::After(wait) => Action::requeue(wait),
    })
}

/// Asks all workers for their status, round by round.
async fn poll(operator: Arc<Operator>) {
    let mut ticks = tokio::time::interval(operator.settings.poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let anomalies: HashMap<ObjectKey, (u16, String)> = operator
            .objects
            .anomalies
            .all()
            .iter()
            .filter_map(|guard| guard.0.as_ref().ok())
            .map(|anomaly| (ObjectKey::of(anomaly), (server_port(anomaly), path_prefix(anomaly))))
            .collect();
        let pods = operator.objects.pods.all();
        let mut owners: HashMap<String, ObjectKey> = HashMap::new();
        let mut targets = Vec::new();
        for pod in &pods {
            let Some(owner) = owner_of_pod(pod) else { continue };
            let Some((port, prefix)) = anomalies.get(&owner) else { continue };
            let Some(target) = Target::of(pod, *port, prefix) else { continue };
            owners.insert(target.uid.clone(), owner);
            targets.push(target);
        }
        for uid in operator.poller.round(targets, &operator.reports).await {
            if let Some(owner) = owners.get(&uid) {
                let _ = operator.triggers.anomalies.send(owner.clone());
            }
        }
        let uids: HashSet<String> = pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        operator.reports.keep_only(&uids);
        operator.metrics.poll_round(began.elapsed());
        count(&operator);
    }
}

/// Counts the watched objects by their condition Ready.
fn count(operator: &Operator) {
    let objects = &operator.objects;
    tally(operator, &objects.anomalies, |anomaly| Some(&anomaly.status.as_ref()?.conditions));
    tally(operator, &objects.models, |model| Some(&model.status.as_ref()?.conditions));
    tally(operator, &objects.queries, |query| Some(&query.status.as_ref()?.conditions));
}

fn tally<K>(operator: &Operator, index: &Index<Guarded<K>>, conditions: fn(&K) -> Option<&Vec<Condition>>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut counts = HashMap::from([("True".to_owned(), 0), ("False".to_owned(), 0), ("Unknown".to_owned(), 0)]);
    for guard in index.all() {
        let known = guard.0.as_ref().ok().and_then(conditions);
        let ready = known.and_then(|conditions| find(conditions, ConditionType::Ready));
        let state = ready.map_or("Unknown", |ready| ready.status.as_str());
        *counts.entry(state.to_owned()).or_default() += 1;
    }
    for (state, count) in counts {
        operator.metrics.objects(&K::kind(&()), &state, count);
    }
}

/// Runs `work` until the process is asked to stop. Every write is one request that stands for itself, so there is
/// nothing to wind up.
///
/// # Errors
/// When the process cannot listen to signals.
pub async fn until_stopped(work: impl Future<Output = ()>) -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        () = work => {}
        _ = terminate.recv() => tracing::info!("asked to stop"),
        _ = tokio::signal::ctrl_c() => tracing::info!("asked to stop"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_cap_for_each_object_and_start_anew_after_a_success() {
        let backoff = Backoff::default();
        let key = |name: &str| ObjectKey { namespace: "n".to_owned(), name: name.to_owned() };
        let waits: Vec<_> = (0..12).map(|_| backoff.after_failure(&key("a"))).collect();
        assert!(waits.is_sorted() && waits[0] == FIRST_WAIT && waits[11] == LONGEST_WAIT);
        assert_eq!(backoff.after_failure(&key("b")), FIRST_WAIT);
        backoff.reset(&key("a"));
        assert_eq!(backoff.after_failure(&key("a")), FIRST_WAIT);
    }
}
