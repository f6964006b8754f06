//! The policy tables.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use skep_abi::{EP_EGRESS, EP_INGRESS, Endpoint, Ip, NAME_POLICY, Name, NameKey, PolicyEpoch};
use skep_datapath::{
    Difference, FlowEntry, IdentityEntry, PolicyDump, PolicyEntry, PolicyPlan, decode_flow, decode_identities,
    decode_policy, fits, verify_policy, verify_services,
};
use skep_netmodel::{PolicyDelta, PolicyState, ServiceSpec};

use crate::datapath::State;
use crate::flows::now_s;
use crate::inspect::Maps;
use crate::{Applied, Datapath, Error, Inspector};

/// The flags that policy sets; others are the programs' own.
const POLICED: u32 = EP_INGRESS | EP_EGRESS;

impl Datapath {
    /// Carries out a change of policy; `state` is what follows from it.
    ///
    /// # Errors
    /// A map is too small (nothing is changed then), or a write fails; [`Datapath::sync_policy`] mends that.
    pub fn apply_policy(&self, delta: &PolicyDelta, state: &PolicyState) -> Result<Applied, Error> {
        let start = Instant::now();
        let plan = PolicyPlan::of_delta(delta);
        self.growing(|held, inspector| {
            inspector.check_fit(state)?;
            write(held, &inspector.maps, &plan)
        })?;
        Ok(Applied { ops: plan.ops(), rows: plan.rows.len(), heads: 0, took: start.elapsed() })
    }

    /// Makes the kernel hold this policy and no other.
    ///
    /// # Errors
    /// As for [`Datapath::apply_policy`].
    pub fn sync_policy(&self, state: &PolicyState) -> Result<Applied, Error> {
        let start = Instant::now();
        let plan = self.growing(|held, inspector| {
            inspector.check_fit(state)?;
            let plan = PolicyPlan::of_state(state, &inspector.policy_dump()?);
            write(held, &inspector.maps, &plan)?;
            // Of endpoints that are yet to come.
            let flags = PolicyPlan::of_state(state, &PolicyDump::default()).endpoints;
            held.policed = flags.into_iter().collect();
            Ok(plan)
        })?;
        Ok(Applied { ops: plan.ops(), rows: plan.rows.len(), heads: 0, took: start.elapsed() })
    }
}

impl Inspector {
    /// Ids that the policy tables bear, with their texts.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn policy_ids(&self) -> Result<Vec<(u32, String)>, Error> {
        Ok(self.names(NAME_POLICY)?.into_iter().collect())
    }

    /// Rows of allowed traffic.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn policy(&self) -> Result<Vec<PolicyEntry>, Error> {
        Ok(decode_policy(&self.policy_dump()?))
    }

    /// Pods and address blocks with their ids.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn identities(&self) -> Result<Vec<IdentityEntry>, Error> {
        Ok(decode_identities(&self.policy_dump()?))
    }

    /// Flows of policed endpoints.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn flows(&self) -> Result<Vec<FlowEntry>, Error> {
        let now_s = now_s();
        let settled = self.maps.ct.dump()?.into_iter().map(|one| (one, true));
        let brief = self.maps.ct_brief.dump()?.into_iter().map(|one| (one, false));
        let all = settled.chain(brief);
        let mut flows: Vec<FlowEntry> =
            all.filter_map(|((key, ct), settled)| decode_flow(&key, &ct, settled, now_s)).collect();
        flows.sort_by_key(|flow| (flow.source, flow.destination, flow.destination_port, flow.source_port));
        Ok(flows)
    }

    /// Where the policy tables differ from a state.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn verify_policy(&self, state: &PolicyState) -> Result<Vec<Difference>, Error> {
        Ok(verify_policy(state, &self.policy_dump()?))
    }

    /// Where the service tables differ from what they should be.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn verify_services<'a>(
        &self,
        specs: impl IntoIterator<Item = &'a ServiceSpec>,
    ) -> Result<Vec<Difference>, Error> {
        Ok(verify_services(specs, &self.dump()?))
    }

    fn policy_dump(&self) -> Result<PolicyDump, Error> {
        let maps = &self.maps;
        let peers = maps.identities.dump()?.into_iter();
        let endpoints = maps.endpoints.dump()?.into_iter();
        Ok(PolicyDump {
            names: self.names(NAME_POLICY)?.into_iter().collect::<BTreeMap<_, _>>(),
            rows: maps.policy.dump()?.into_iter().collect(),
            peers: peers.map(|(address, peer)| (address, (peer.identity, peer.namespace))).collect(),
            blocks: maps.blocks.dump()?.into_iter().collect(),
            endpoints: endpoints.map(|(address, endpoint)| (IpAddr::from(address), endpoint.flags & POLICED)).collect(),
        })
    }

    fn check_fit(&self, state: &PolicyState) -> Result<(), Error> {
        let (policy, identities, blocks) =
            (self.maps.policy.info()?, self.maps.identities.info()?, self.maps.blocks.info()?);
        let capacity = |map| match map {
            "POLICY" => policy.max_entries,
            "IDENTITIES" => identities.max_entries,
            _ => blocks.max_entries,
        };
        Ok(fits(state, capacity)?)
    }
}

/// Field by field, as a plan asks for. Flows are told at last, so that the ones that are looked at again meet the new tables.
fn write(state: &mut State, maps: &Maps, plan: &PolicyPlan) -> Result<(), Error> {
    let key = |id| NameKey { kind: NAME_POLICY, id };
    let names: Vec<_> = plan.names.iter().map(|(id, name)| (key(*id), Name::new(name))).collect();
    maps.names.put_all(&names)?;
    maps.policy.put_all(&plan.rows)?;
    maps.blocks.put_all(&plan.blocks)?;
    maps.identities.put_all(&plan.peers)?;
    for address in &plan.removed_peers {
        maps.identities.delete(address)?;
    }
    for &(address, flags) in &plan.endpoints {
        state.policed.insert(address, flags);
        let slot = Ip::from(address);
        if let Some(held) = maps.endpoints.get(&slot)? {
            let flags = flags | held.flags & !POLICED;
            maps.endpoints.put(&slot, &Endpoint { flags, ..held })?;
        }
    }
    for address in &plan.removed_endpoints {
        state.policed.remove(address);
    }
    for block in &plan.removed_blocks {
        maps.blocks.delete(block)?;
    }
    for row in &plan.removed_rows {
        maps.policy.delete(row)?;
    }
    if plan.changes() > 0 {
        let held = maps.policy_state.get(&0)?.unwrap_or_default();
        maps.policy_state.put(&0, &PolicyEpoch { generation: held.generation.wrapping_add(1) })?;
    }
    for &id in &plan.removed_names {
        maps.names.delete(&key(id))?;
    }
    Ok(())
}
