//! Pods that wait for a node. No locks, no waiting; time is an argument.
//!
//! Each pod is in one of four places: active (its turn comes), backing off (its turn comes later), unschedulable (until an
//! event that may help it), gated (until it changes), or popped (a scheduling cycle has it).

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use crate::framework::{ClusterEvent, Profile, Verdict};

const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// After this an unschedulable pod is looked at again, whatever happened.
const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
enum Place {
    Active,
    Backoff { until: Instant },
    Unschedulable { since: Instant, plugins: BTreeSet<&'static str> },
    Gated,
    Popped { events: BTreeSet<ClusterEvent> },
}

struct Waiting {
    pod: Arc<Pod>,
    place: Place,
    attempts: u32,
    /// Order of arrival in the active queue.
    arrival: u64,
    /// When it last failed.
    failed: Option<Instant>,
}

pub(crate) struct Queue {
    profile: Arc<Profile>,
    pods: HashMap<String, Waiting>,
    arrivals: u64,
    /// UIDs of active pods, in order.
    active: BTreeSet<Turn>,
}

/// A place in the active queue.
struct Turn {
    sort: fn(&Pod, &Pod) -> Ordering,
    pod: Arc<Pod>,
    arrival: u64,
    uid: String,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.sort)(&self.pod, &other.pod).then(self.arrival.cmp(&other.arrival)).then_with(|| self.uid.cmp(&other.uid))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

impl Queue {
    pub(crate) fn new(profile: Arc<Profile>) -> Self {
        Self { profile, pods: HashMap::new(), arrivals: 0, active: BTreeSet::new() }
    }

    /// A pod that waits, new or changed.
    pub(crate) fn set(&mut self, uid: &str, pod: &Arc<Pod>, now: Instant) {
        let gated = self.is_gated(pod);
        let Some(mut waiting) = self.take(uid) else {
            let place = if gated { Place::Gated } else { Place::Active };
            let waiting = Waiting { pod: Arc::clone(pod), place, attempts: 0, arrival: 0, failed: None };
            self.put(uid, waiting);
            return;
        };
        waiting.pod = Arc::clone(pod);
        match &mut waiting.place {
            Place::Popped { events } => {
                events.insert(ClusterEvent::PodChanged);
            }
            Place::Active | Place::Backoff { .. } => {
                if gated {
                    waiting.place = Place::Gated;
                }
            }
            Place::Unschedulable { .. } | Place::Gated => {
                waiting.place = if gated { Place::Gated } else { after_backoff(&waiting, now) };
            }
        }
        self.put(uid, waiting);
    }

    /// A pod that does not wait any more: bound or gone.
    pub(crate) fn remove(&mut self, uid: &str) {
        self.take(uid);
    }

    /// The pod whose turn it is. It stays known, as popped, until `fail` or `remove`.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(String, Arc<Pod>)> {
        self.promote(now);
        let turn = self.active.pop_first()?;
        let waiting = self.pods.get_mut(&turn.uid)?;
        waiting.place = Place::Popped { events: BTreeSet::new() };
        waiting.attempts = waiting.attempts.saturating_add(1);
        Some((turn.uid, turn.pod))
    }

    /// No node fit. The pod waits for an event that may help, unless one came meanwhile.
    pub(crate) fn unschedulable(&mut self, uid: &str, plugins: BTreeSet<&'static str>, now: Instant) {
        let Some(mut waiting) = self.take(uid) else { return };
        waiting.failed = Some(now);
        let missed = match &waiting.place {
            Place::Popped { events } => events.iter().any(|event| self.helps(&plugins, *event)),
            _ => false,
        };
        waiting.place =
            if missed { after_backoff(&waiting, now) } else { Place::Unschedulable { since: now, plugins } };
        self.put(uid, waiting);
    }

    /// Something failed that has nothing to do with the pod: it is tried again after its back-off.
    pub(crate) fn retry(&mut self, uid: &str, now: Instant) {
        let Some(mut waiting) = self.take(uid) else { return };
        waiting.failed = Some(now);
        waiting.place = after_backoff(&waiting, now);
        self.put(uid, waiting);
    }

    /// Something changed in the cluster: wakes the pods that it may help.
    pub(crate) fn event(&mut self, event: ClusterEvent, now: Instant) {
        let mut wake = Vec::new();
        for (uid, waiting) in &self.pods {
            if let Place::Unschedulable { plugins, .. } = &waiting.place
                && self.helps(plugins, event)
            {
                wake.push(uid.clone());
            }
        }
        for waiting in self.pods.values_mut() {
            if let Place::Popped { events } = &mut waiting.place {
                events.insert(event);
            }
        }
        for uid in wake {
            let Some(mut waiting) = self.take(&uid) else { continue };
            waiting.place = after_backoff(&waiting, now);
            self.put(&uid, waiting);
        }
    }

    /// When a pod's turn may come without any event.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let due = |waiting: &Waiting| match &waiting.place {
            Place::Backoff { until } => Some(*until),
            Place::Unschedulable { since, .. } => Some(*since + UNSCHEDULABLE_MAX),
            Place::Active | Place::Gated | Place::Popped { .. } => None,
        };
        self.pods.values().filter_map(due).min()
    }

    fn promote(&mut self, now: Instant) {
        let is_due = |waiting: &Waiting| match &waiting.place {
            Place::Backoff { until } => *until <= now,
            Place::Unschedulable { since, .. } => *since + UNSCHEDULABLE_MAX <= now,
            Place::Active | Place::Gated | Place::Popped { .. } => false,
        };
        let due: Vec<_> = self.pods.iter().filter(|(_, waiting)| is_due(waiting)).map(|(uid, _)| uid.clone()).collect();
        for uid in due {
            let Some(mut waiting) = self.take(&uid) else { continue };
            waiting.place = Place::Active;
            self.put(&uid, waiting);
        }
    }

    fn take(&mut self, uid: &str) -> Option<Waiting> {
        let waiting = self.pods.remove(uid)?;
        if matches!(waiting.place, Place::Active) {
            self.active.remove(&self.turn(uid, &waiting));
        }
        Some(waiting)
    }

    fn put(&mut self, uid: &str, mut waiting: Waiting) {
        if matches!(waiting.place, Place::Active) {
            if waiting.arrival == 0 {
                self.arrivals += 1;
                waiting.arrival = self.arrivals;
            }
            self.active.insert(self.turn(uid, &waiting));
        }
        self.pods.insert(uid.to_owned(), waiting);
    }

    fn turn(&self, uid: &str, waiting: &Waiting) -> Turn {
        let sort = self.profile.queue_sort;
        Turn { sort, pod: Arc::clone(&waiting.pod), arrival: waiting.arrival, uid: uid.to_owned() }
    }

    fn is_gated(&self, pod: &Pod) -> bool {
        let mut gates = self.profile.plugins.iter().filter_map(|plugin| plugin.pre_enqueue);
        gates.any(|gate| gate(pod) != Verdict::Fits)
    }

    fn helps(&self, plugins: &BTreeSet<&'static str>, event: ClusterEvent) -> bool {
        self.profile.plugins.iter().any(|plugin| plugins.contains(plugin.name) && plugin.wakes.contains(&event))
    }

    #[cfg(test)]
    fn uids(&self) -> usize {
        self.pods.len()
    }
}

/// Active, or backing off for what is left of 1 s, 2 s, 4 s … 10 s since the last failure.
fn after_backoff(waiting: &Waiting, now: Instant) -> Place {
    let doubled = 1u32 << waiting.attempts.saturating_sub(1).min(4);
    let until = waiting.failed.map(|failed| failed + (BACKOFF_MIN * doubled).min(BACKOFF_MAX));
    match until.filter(|until| *until > now) {
        Some(until) => Place::Backoff { until },
        None => Place::Active,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn pod(priority: i32) -> Arc<Pod> {
        Arc::new(from_value(json!({"spec": {"containers": [], "priority": priority}})).unwrap())
    }

    fn queue() -> (Queue, Instant) {
        (Queue::new(Arc::new(Profile::default())), Instant::now())
    }

    fn pop(queue: &mut Queue, now: Instant) -> Option<String> {
        queue.pop(now).map(|(uid, _)| uid)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn priority_first_then_arrival() {
        let (mut queue, now) = queue();
        for (uid, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
            queue.set(uid, &pod(priority), now);
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, now)).collect();
        assert_eq!(order, ["b", "d", "a", "c"]);
    }

    #[test]
    fn only_an_event_that_may_help_wakes() {
        let (mut queue, now) = queue();
        queue.set("a", &pod(0), now);
        pop(&mut queue, now).unwrap();
        queue.unschedulable("a", BTreeSet::from(["NodePorts"]), now);
        queue.event(ClusterEvent::NodeChanged, now + SECOND);
        assert_eq!(pop(&mut queue, now + 2 * SECOND), None);
        queue.event(ClusterEvent::PodRemoved, now + 2 * SECOND);
        assert_eq!(pop(&mut queue, now + 2 * SECOND).unwrap(), "a");
    }

    #[test]
    fn an_event_during_the_cycle_is_not_missed() {
        let (mut queue, now) = queue();
        queue.set("a", &pod(0), now);
        pop(&mut queue, now).unwrap();
        queue.event(ClusterEvent::NodeAdded, now);
        queue.unschedulable("a", BTreeSet::from(["NodeResourcesFit"]), now);
        assert_eq!(pop(&mut queue, now), None, "backs off");
        assert_eq!(queue.next_due(), Some(now + SECOND));
        assert_eq!(pop(&mut queue, now + SECOND).unwrap(), "a");
    }

    #[test]
    fn backoff_doubles_up_to_ten_seconds() {
        let (mut queue, mut now) = queue();
        queue.set("a", &pod(0), now);
        let mut delays = Vec::new();
        for _ in 0..6 {
            pop(&mut queue, now).unwrap();
            queue.retry("a", now);
            let due = queue.next_due().unwrap();
            delays.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn an_unschedulable_pod_is_looked_at_again_in_the_end() {
        let (mut queue, now) = queue();
        queue.set("a", &pod(0), now);
        pop(&mut queue, now).unwrap();
        queue.unschedulable("a", BTreeSet::new(), now);
        assert_eq!(pop(&mut queue, now + 299 * SECOND), None);
        assert_eq!(pop(&mut queue, now + 300 * SECOND).unwrap(), "a");
    }

    #[test]
    fn a_gated_pod_waits_until_it_changes() {
        let (mut queue, now) = queue();
        let gated: Pod = from_value(json!({"spec": {"containers": [], "schedulingGates": [{"name": "g"}]}})).unwrap();
        queue.set("a", &Arc::new(gated), now);
        queue.event(ClusterEvent::NodeAdded, now);
        assert_eq!(pop(&mut queue, now), None);
        queue.set("a", &pod(0), now);
        assert_eq!(pop(&mut queue, now).unwrap(), "a");
    }

    #[test]
    fn a_removed_pod_is_forgotten() {
        let (mut queue, now) = queue();
        queue.set("a", &pod(0), now);
        queue.set("b", &pod(0), now);
        pop(&mut queue, now).unwrap();
        queue.remove("a");
        queue.remove("b");
        queue.unschedulable("a", BTreeSet::new(), now);
        assert_eq!(pop(&mut queue, now), None);
        assert_eq!(queue.uids(), 0);
    }
}
