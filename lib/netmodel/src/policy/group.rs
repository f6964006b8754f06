//! Groups of peers that rules name, each with the ids that are in it now.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::ObjectName;
use crate::identity::{Identity, Labels};
use crate::selector::Selector;

/// A peer of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Anyone,
    AnyPod,
    Group(GroupKey),
}

/// What is in a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GroupKey {
    /// Ids of a namespace.
    Namespace(String),
    /// Ids of the namespaces selected.
    Namespaces(Selector),
    /// Identities selected.
    Pods { scope: Scope, pods: Selector },
    /// Ids of the address blocks inside it and outside the exceptions.
    Block { cidr: IpNet, except: Vec<IpNet> },
}

/// Namespaces whose pods are looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Own(String),
    Selected(Selector),
}

/// A group's content, and the policies that name it, with how often.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) members: BTreeSet<u32>,
    pub(crate) users: BTreeMap<ObjectName, usize>,
}

impl Peer {
    /// The same pods, one identity at a time; `None` for what is no pod.
    pub(crate) fn by_identity(&self) -> Option<Self> {
        let pods = |scope| Some(Self::Group(GroupKey::Pods { scope, pods: Selector::default() }));
        match self {
            Self::Anyone | Self::AnyPod => pods(Scope::Selected(Selector::default())),
            Self::Group(GroupKey::Namespace(name)) => pods(Scope::Own(name.clone())),
            Self::Group(GroupKey::Namespaces(selector)) => pods(Scope::Selected(selector.clone())),
            Self::Group(GroupKey::Pods { .. }) => Some(self.clone()),
            Self::Group(GroupKey::Block { .. }) => None,
        }
    }
}

impl GroupKey {
    /// Whether a namespace itself is a member.
    pub(crate) fn has_namespace(&self, name: &str, labels: &Labels) -> bool {
        match self {
            Self::Namespace(own) => own == name,
            Self::Namespaces(selector) => selector.matches(labels),
            Self::Pods { .. } | Self::Block { .. } => false,
        }
    }

    /// Whether an identity is a member; `labels` are its namespace's.
    pub(crate) fn has_identity(&self, identity: &Identity, labels: &Labels) -> bool {
        let Self::Pods { scope, pods } = self else { return false };
        let in_scope = match scope {
            Scope::Own(own) => *own == identity.namespace,
            Scope::Selected(selector) => selector.matches(labels),
        };
        in_scope && pods.matches(&identity.labels)
    }

    /// Whether an address block is a member. It stands for the addresses that are in no smaller block known.
    pub(crate) fn has_block(&self, net: &IpNet) -> bool {
        let Self::Block { cidr, except } = self else { return false };
        cidr.contains(net) && !except.iter().any(|hole| hole.contains(net))
    }

    /// The blocks that must be told apart for it.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &IpNet> {
        let (cidr, except) = match self {
            Self::Block { cidr, except } => (Some(cidr), except.as_slice()),
            _ => (None, [].as_slice()),
        };
        cidr.into_iter().chain(except)
    }
}
