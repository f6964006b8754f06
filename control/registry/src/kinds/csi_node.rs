//! CSINode.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver};

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::names;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;
use crate::workload::not_negative;

const NODE_ID_BYTES_MAX: usize = 256;

/// CSINodes.
pub(crate) struct CsiNodes;

impl Kind for CsiNodes {
    type Object = CSINode;

    const SINGULAR: &'static str = "csinode";
    const COLUMNS: &'static [Column] =
        &[table::NAME, table::number("Drivers", "How many drivers the node has."), table::AGE];

    fn validate(object: &CSINode) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("spec.drivers");
        let mut seen = BTreeSet::new();
        for (i, driver) in object.spec.drivers.iter().enumerate() {
            let path = path.index(i);
            validate_driver(&mut errors, &path, driver);
            if !seen.insert(driver.name.as_str()) {
                errors.duplicate(&path.child("name"), driver.name.as_str());
            }
        }
        errors.into_vec()
    }

    fn validate_update(new: &CSINode, old: &CSINode) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        let path = Path::root("spec.drivers");
        for (i, driver) in new.spec.drivers.iter().enumerate() {
            let Some(was) = old.spec.drivers.iter().find(|was| was.name == driver.name) else { continue };
            let path = path.index(i);
            errors.immutable(&path.child("nodeID"), &driver.node_id, &was.node_id);
            errors.immutable(&path.child("topologyKeys"), &driver.topology_keys, &was.topology_keys);
        }
        errors.into_vec()
    }

    fn row(object: &CSINode, now: Timestamp) -> Vec<Cell> {
        vec![table::name(&object.metadata), Cell::from(object.spec.drivers.len()), table::age(&object.metadata, now)]
    }
}

fn validate_driver(errors: &mut Errors, path: &Path<'_>, driver: &CSINodeDriver) {
    names::validate_csi_driver(errors, &path.child("name"), &driver.name);
    let at = path.child("nodeID");
    if driver.node_id.is_empty() {
        errors.required(&at, "");
    } else if driver.node_id.len() > NODE_ID_BYTES_MAX {
        errors.invalid(&at, driver.node_id.as_str(), &format!("must be {NODE_ID_BYTES_MAX} characters or less"));
    }
    let count = driver.allocatable.as_ref().and_then(|allocatable| allocatable.count);
    not_negative(errors, &path.child("allocatable.count"), count.map(i64::from));
    let at = path.child("topologyKeys");
    let mut seen = BTreeSet::new();
    for key in driver.topology_keys.iter().flatten() {
        if key.is_empty() {
            errors.required(&at, "");
        } else if !seen.insert(key.as_str()) {
            errors.duplicate(&at, key.as_str());
        }
        errors.invalid_each(&at, key, names::qualified_name(key));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn drivers_have_names_and_ids_that_stay() {
        let node = |id: &str| -> CSINode {
            let driver = json!({"name": "a.b", "nodeID": id, "topologyKeys": ["zone"]});
            crate::decode::decode(json!({"metadata": {"name": "n"}, "spec": {"drivers": [driver]}})).unwrap().0
        };
        assert!(CsiNodes::validate(&node("x")).is_empty());
        assert_eq!(CsiNodes::validate(&node(""))[0].field, "spec.drivers[0].nodeID");
        assert_eq!(CsiNodes::validate_update(&node("y"), &node("x"))[0].field, "spec.drivers[0].nodeID");
        assert_eq!(CsiNodes::row(&node("x"), Timestamp::UNIX_EPOCH)[1], 1);
    }
}
