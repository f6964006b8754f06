//! Policy, flows and drops: which rows a target names, and their tables.

use skep_observe::v1;

use super::table::{or_dash, table};

/// Rows of a policy (`NAMESPACE/NAME`), or of the pods that have an address, an id or a text in their labels.
pub(super) fn find_rows(rows: Vec<v1::PolicyRow>, identities: &[v1::Identity], target: &str) -> Vec<v1::PolicyRow> {
    let id = identities.iter().find(|one| one.address == target).map(|one| one.id);
    let id = id.or_else(|| target.parse().ok());
    let named = |row: &v1::PolicyRow| row.rule.split(' ').next() == Some(target);
    let about = |row: &v1::PolicyRow| id.is_some_and(|id| row.subject_id == id || row.peer_id == id);
    rows.into_iter().filter(|row| named(row) || about(row) || row.subject.contains(target)).collect()
}

/// By address, id, or a text in the labels.
pub(super) fn find_identities(rows: Vec<v1::Identity>, target: &str) -> Vec<v1::Identity> {
    let is = |row: &v1::Identity| row.address == target || row.id.to_string() == target || row.labels.contains(target);
    rows.into_iter().filter(is).collect()
}

/// Those with an end at `ADDRESS` or `ADDRESS:PORT`.
pub(super) fn find_flows(rows: Vec<v1::Flow>, target: &str) -> Vec<v1::Flow> {
    let ends =
        |row: &v1::Flow| [(row.source.clone(), row.source_port), (row.destination.clone(), row.destination_port)];
    let is = |row: &v1::Flow| {
        ends(row).iter().any(|(address, port)| address == target || format!("{address}:{port}") == target)
    };
    rows.into_iter().filter(is).collect()
}

pub(super) fn rows(rows: &[v1::PolicyRow]) -> String {
    let row = |one: &v1::PolicyRow| {
        vec![
            one.subject.clone(),
            one.direction.clone(),
            one.peer.clone(),
            one.ports.clone(),
            one.verdict.clone(),
            one.rule.clone(),
        ]
    };
    table(&["SUBJECT", "DIRECTION", "PEER", "PORTS", "VERDICT", "RULE"], rows.iter().map(row))
}

pub(super) fn identities(rows: &[v1::Identity]) -> String {
    let row =
        |one: &v1::Identity| vec![one.address.clone(), one.id.to_string(), or_dash(&one.policed), one.labels.clone()];
    table(&["ADDRESS", "ID", "POLICED", "LABELS"], rows.iter().map(row))
}

pub(super) fn flows(rows: &[v1::Flow]) -> String {
    let row = |one: &v1::Flow| {
        vec![
            one.protocol.clone(),
            format!("{}:{}", one.source, one.source_port),
            format!("{}:{}", one.destination, one.destination_port),
            one.state.clone(),
            one.expires_s.to_string(),
            if one.settled { "kept" } else { "brief" }.to_owned(),
            one.owner.to_string(),
        ]
    };
    table(&["PROTOCOL", "SOURCE", "DESTINATION", "STATE", "EXPIRES", "PLACE", "OWNER"], rows.iter().map(row))
}

pub(super) fn drops(rows: &[v1::Counter]) -> String {
    let row = |one: &v1::Counter| vec![one.name.clone(), one.packets.to_string(), one.bytes.to_string()];
    table(&["REASON", "PACKETS", "BYTES"], rows.iter().map(row))
}

pub(super) fn differences(rows: &[v1::Difference]) -> String {
    if rows.is_empty() {
        return "the kernel holds what it should".to_owned();
    }
    let row =
        |one: &v1::Difference| vec![one.table.clone(), one.key.clone(), or_dash(&one.desired), or_dash(&one.held)];
    table(&["TABLE", "KEY", "DESIRED", "HELD"], rows.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_policies_pods_and_flows() {
        let row = v1::PolicyRow {
            subject_id: 20,
            subject: "pods a{app=web}".to_owned(),
            peer_id: 30,
            rule: "a/deny ingress[0]".to_owned(),
            ..v1::PolicyRow::default()
        };
        let web = v1::Identity { address: "10.42.0.5".to_owned(), id: 30, ..v1::Identity::default() };
        for (target, found) in [("a/deny", 1), ("20", 1), ("10.42.0.5", 1), ("app=web", 1), ("a/den", 0), ("31", 0)] {
            assert_eq!(find_rows(vec![row.clone()], std::slice::from_ref(&web), target).len(), found, "{target}");
        }
        let flow = v1::Flow { destination: "10.42.0.5".to_owned(), destination_port: 80, ..v1::Flow::default() };
        for (target, found) in [("10.42.0.5", 1), ("10.42.0.5:80", 1), ("10.42.0.5:8", 0)] {
            assert_eq!(find_flows(vec![flow.clone()], target).len(), found, "{target}");
        }
    }
}
