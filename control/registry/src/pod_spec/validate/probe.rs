//! Probes and life-cycle handlers.

use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, SleepAction, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::{Errors, Path};
use crate::names;
use crate::workload::not_negative;

pub(super) fn validate_probes(errors: &mut Errors, path: &Path<'_>, container: &Container) {
    let probes = [
        ("livenessProbe", &container.liveness_probe, false),
        ("readinessProbe", &container.readiness_probe, true),
        ("startupProbe", &container.startup_probe, false),
    ];
    for (field, probe, readiness) in probes {
        let path = path.child(field);
        let Some(probe) = probe else { continue };
        validate_probe(errors, &path, probe);
        let successes = probe.success_threshold.unwrap_or(0);
        if !readiness && successes != 1 {
            errors.invalid(&path.child("successThreshold"), successes, "must be 1");
        }
        if let Some(seconds) = probe.termination_grace_period_seconds {
            let path = path.child("terminationGracePeriodSeconds");
            if readiness {
                errors.invalid(&path, seconds, "must not be set for readinessProbes");
            } else if seconds <= 0 {
                errors.invalid(&path, seconds, "must be greater than 0");
            }
        }
    }
}

fn validate_probe(errors: &mut Errors, path: &Path<'_>, probe: &Probe) {
    Handler {
        exec: probe.exec.as_ref(),
        http_get: probe.http_get.as_ref(),
        tcp_socket: probe.tcp_socket.as_ref(),
        grpc: probe.grpc.as_ref(),
        sleep: None,
    }
    .validate(errors, path);
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        not_negative(errors, &path.child(field), value.map(i64::from));
    }
}

pub(super) fn validate_lifecycle(errors: &mut Errors, path: &Path<'_>, container: &Container) {
    let Some(lifecycle) = &container.lifecycle else { return };
    for (field, handler) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
        if let Some(LifecycleHandler { exec, http_get, sleep, tcp_socket }) = handler {
            Handler {
                exec: exec.as_ref(),
                http_get: http_get.as_ref(),
                tcp_socket: tcp_socket.as_ref(),
                grpc: None,
                sleep: sleep.as_ref(),
            }
            .validate(errors, &path.child("lifecycle").child(field));
        }
    }
}

/// What probes and life-cycle hooks may do; exactly one of these.
struct Handler<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

impl Handler<'_> {
    fn validate(&self, errors: &mut Errors, path: &Path<'_>) {
        let given = [
            ("exec", self.exec.is_some()),
            ("httpGet", self.http_get.is_some()),
            ("tcpSocket", self.tcp_socket.is_some()),
            ("grpc", self.grpc.is_some()),
            ("sleep", self.sleep.is_some()),
        ];
        let mut given = given.into_iter().filter(|(_, given)| *given).map(|(field, _)| field);
        if given.next().is_none() {
            errors.required(path, "must specify a handler type");
        }
        for field in given {
            errors.forbidden(&path.child(field), "may not specify more than 1 handler type");
        }
        if self.exec.is_some_and(|exec| exec.command.as_ref().is_none_or(Vec::is_empty)) {
            errors.required(&path.child("exec.command"), "");
        }
        if let Some(get) = self.http_get {
            validate_http_get(errors, &path.child("httpGet"), get);
        }
        if let Some(socket) = self.tcp_socket {
            validate_port(errors, &path.child("tcpSocket.port"), &socket.port);
        }
        if let Some(grpc) = self.grpc {
            validate_port(errors, &path.child("grpc.port"), &IntOrString::Int(grpc.port));
        }
        if let Some(sleep) = self.sleep.filter(|sleep| sleep.seconds < 0) {
            errors.invalid(&path.child("sleep"), sleep.seconds, "must be non-negative");
        }
    }
}

fn validate_http_get(errors: &mut Errors, path: &Path<'_>, get: &HTTPGetAction) {
    if get.path.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("path"), "");
    }
    validate_port(errors, &path.child("port"), &get.port);
    match get.scheme.as_deref().unwrap_or_default() {
        "HTTP" | "HTTPS" => {}
        other => errors.not_supported(&path.child("scheme"), other, &["HTTP", "HTTPS"]),
    }
    for header in get.http_headers.iter().flatten() {
        errors.invalid_each(&path.child("httpHeaders"), &header.name, names::http_header_name(&header.name));
    }
}

fn validate_port(errors: &mut Errors, path: &Path<'_>, port: &IntOrString) {
    match port {
        IntOrString::Int(number) => {
            if let Some(detail) = names::port_number(*number) {
                errors.invalid(path, *number, detail);
            }
        }
        IntOrString::String(name) => errors.invalid_each(path, name, names::port_name(name)),
    }
}
