//! PodTemplate.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodTemplate;

use crate::field::{Errors, Path};
use crate::kind::Kind;
use crate::strategy::{Cell, Column, FieldError};
use crate::table;
use crate::workload;

/// PodTemplates.
pub(crate) struct PodTemplates;

impl Kind for PodTemplates {
    type Object = PodTemplate;

    const SINGULAR: &'static str = "podtemplate";
    const GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Containers", "Names of each container in the template."),
        table::text("Images", "Images referenced by each container in the template."),
        table::text("Pod Labels", "The labels for the pod template."),
    ];

    fn default(object: &mut PodTemplate) {
        workload::default_template(object.template.get_or_insert_default());
    }

    fn validate(object: &PodTemplate) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let template = object.template.clone().unwrap_or_default();
        workload::validate_template(&mut errors, &Path::root("template"), &template);
        errors.into_vec()
    }

    fn spec_changed(new: &PodTemplate, old: &PodTemplate) -> bool {
        new.template != old.template
    }

    fn row(object: &PodTemplate, _now: Timestamp) -> Vec<Cell> {
        let labels = object.template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.as_ref());
        let [containers, images, labels] = workload::wide_cells(object.template.as_ref(), table::labels_text(labels));
        vec![table::name(&object.metadata), containers, images, labels]
    }
}
