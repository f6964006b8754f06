//! CSIStorageCapacity.

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::CSIStorageCapacity;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::metadata::validate_label_selector;
use crate::names;
use crate::pod_spec::validate_quantity;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;

/// CSIStorageCapacities.
pub(crate) struct CsiStorageCapacities;

impl Kind for CsiStorageCapacities {
    type Object = CSIStorageCapacity;

    const SINGULAR: &'static str = "csistoragecapacity";
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("StorageClassName", "The class that it is about."),
        table::text("Capacity", "How much is left."),
    ];

    fn validate(object: &CSIStorageCapacity) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let class = object.storage_class_name.as_str();
        errors.invalid_each(&Path::root("storageClassName"), class, names::dns1123_subdomain(class));
        if let Some(topology) = &object.node_topology {
            validate_label_selector(&mut errors, &Path::root("nodeTopology"), topology);
        }
        for (field, quantity) in [("capacity", &object.capacity), ("maximumVolumeSize", &object.maximum_volume_size)] {
            if let Some(quantity) = quantity {
                validate_quantity(&mut errors, &Path::root(field), quantity);
            }
        }
        errors.into_vec()
    }

    fn validate_update(new: &CSIStorageCapacity, old: &CSIStorageCapacity) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.extend(Self::validate(new));
        errors.immutable(&Path::root("nodeTopology"), &new.node_topology, &old.node_topology);
        errors.immutable(&Path::root("storageClassName"), &new.storage_class_name, &old.storage_class_name);
        errors.into_vec()
    }

    fn row(object: &CSIStorageCapacity, _now: Timestamp) -> Vec<Cell> {
        let capacity = object.capacity.as_ref().map(|capacity| capacity.0.as_str());
        vec![table::name(&object.metadata), Cell::from(object.storage_class_name.as_str()), table::or_unset(capacity)]
    }
}
