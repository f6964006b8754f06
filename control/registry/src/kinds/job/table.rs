//! How Jobs are printed.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use crate::strategy::{Cell, Column};
use crate::table::{self, human_duration};
use crate::workload;

pub(super) const COLUMNS: &[Column] = &[
    table::NAME,
    table::text("Status", "Status of the job."),
    table::text("Completions", "How many pods have succeeded, of how many."),
    table::text("Duration", "Time required to complete the job."),
    table::AGE,
    workload::CONTAINERS,
    workload::IMAGES,
    workload::SELECTOR,
];

pub(super) fn row(object: &Job, now: Timestamp) -> Vec<Cell> {
    let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
    let succeeded = status.succeeded.unwrap_or(0);
    let completions = match (spec.completions, spec.parallelism.unwrap_or(0)) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration = status.start_time.as_ref().map_or_else(String::new, |start| {
        let end = status.completion_time.as_ref().map_or(now, |end| end.0);
        human_duration(end.as_second() - start.0.as_second())
    });
    let selector = spec.selector.as_ref().map_or_else(|| "<none>".to_owned(), workload::selector_text);
    let mut cells = vec![
        table::name(&object.metadata),
        Cell::from(state(object)),
        Cell::from(completions),
        Cell::from(duration),
        table::age(&object.metadata, now),
    ];
    cells.extend(workload::wide_cells(Some(&spec.template), selector));
    cells
}

fn state(job: &Job) -> &'static str {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let has = |kind: &str| conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True");
    if has("Complete") {
        return "Complete";
    }
    if has("Failed") {
        return "Failed";
    }
    if job.metadata.deletion_timestamp.is_some() {
        return "Terminating";
    }
    ["Suspended", "FailureTarget", "SuccessCriteriaMet"].into_iter().find(|kind| has(kind)).unwrap_or("Running")
}
