//! Resources that are questions or orders: an object is created, answered, and forgotten.
//!
//! What all of them share is here: decoding, defaults, validation, the answer as the object with its status. Each question's own
//! part is a function in [`ANSWERS`].

use std::future::Future;
use std::pin::Pin;

use http::{Response, StatusCode};
use k8s_openapi::api::authentication::v1::{
    SelfSubjectReview, SelfSubjectReviewStatus, TokenReview, TokenReviewStatus, UserInfo,
};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, NonResourceRule, ResourceAttributes, ResourceRule,
    SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewSpec,
    SubjectAccessReviewStatus, SubjectRulesReviewStatus,
};
use k8s_openapi::api::core::v1::Binding;
use serde_json::Value;
use skep_rbac::Action;
use skep_registry::{Object, typed_mut};

use crate::authn::Identity;
use crate::authz::{Authorizer, Decision, missing_text};
use crate::call::Call;
use crate::form;
use crate::input;
use crate::negotiate::Output;
use crate::path::{ResourcePath, Verb};
use crate::resource::{self, Context};
use crate::response::Body;
use crate::served::Served;
use crate::status::ApiError;
use crate::write::{Asked, Target, own_namespace, refuse_fields};

type Answered<'a> = Pin<Box<dyn Future<Output = Result<Option<Value>, ApiError>> + Send + 'a>>;

/// Puts the answer into the question, or gives another one.
type Answer = for<'a> fn(&'a Context<'a>, &'a Asked, &'a mut dyn Object) -> Answered<'a>;

/// Every question, by group and resource.
const ANSWERS: &[(&str, &str, Answer)] = &[
    ("", "bindings", |context, asked, object| Box::pin(bind(context, asked, object))),
    ("authentication.k8s.io", "selfsubjectreviews", |_, asked, object| ready(who_am_i(&asked.who, object))),
    ("authentication.k8s.io", "tokenreviews", |context, _, object| Box::pin(token(context, object))),
    ("authorization.k8s.io", "subjectaccessreviews", |context, _, object| {
        Box::pin(async move {
            let Some(review) = typed_mut::<SubjectAccessReview>(object) else { return Ok(None) };
            review.status = Some(of_subject(context, &review.spec).await?);
            Ok(None)
        })
    }),
    ("authorization.k8s.io", "localsubjectaccessreviews", |context, _, object| {
        Box::pin(async move {
            let Some(review) = typed_mut::<LocalSubjectAccessReview>(object) else { return Ok(None) };
            review.status = Some(of_subject(context, &review.spec).await?);
            Ok(None)
        })
    }),
    ("authorization.k8s.io", "selfsubjectaccessreviews", |context, asked, object| {
        Box::pin(async move {
            let Some(review) = typed_mut::<SelfSubjectAccessReview>(object) else { return Ok(None) };
            let spec = &review.spec;
            let (resource, path) = (spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
            review.status = Some(access(context, &asked.who, resource, path).await?);
            Ok(None)
        })
    }),
    ("authorization.k8s.io", "selfsubjectrulesreviews", |context, asked, object| {
        Box::pin(rules(context, &asked.who, object))
    }),
];

fn ready<'a>(answered: Result<Option<Value>, ApiError>) -> Answered<'a> {
    Box::pin(std::future::ready(answered))
}

/// Takes a question and answers it.
pub(crate) async fn handle(
    context: &Context<'_>,
    served: &Served,
    path: &ResourcePath,
    verb: Verb,
    call: Call,
) -> Result<Response<Body>, ApiError> {
    let known = ANSWERS.iter().find(|(group, plural, _)| served.group == *group && served.plural == *plural);
    let Some((_, _, answer)) = known else { return Err(ApiError::no_such_path()) };
    if verb != Verb::Create || path.name.is_some() {
        return Err(ApiError::method_not_allowed());
    }
    let asked = call.asks("", call.query.dry_run()?);
    let output = Output::of_answer(&call.headers, &call.query)?;
    let validation = call.query.field_validation()?;
    let parsed = input::parse(&call.headers, &input::read(call.body).await?)?;
    let (mut object, warnings) = input::decode(served, parsed, validation)?;
    own_namespace(&mut *object, path.namespace.as_deref())?;
    served.strategy.default(&mut *object);
    served.strategy.prepare_for_create(&mut *object);
    let name = object.meta().name.clone().unwrap_or_default();
    refuse_fields(served, &name, &served.strategy.validate(&*object))?;
    let other = answer(context, &asked, &mut *object).await?;
    call.warnings.extend(warnings);
    Ok(form::render(StatusCode::CREATED, &other.unwrap_or_else(|| object.to_value()), output))
}

/// The older way to bind a pod: by the name in the binding, not by the pod's path.
async fn bind(context: &Context<'_>, asked: &Asked, object: &mut dyn Object) -> Result<Option<Value>, ApiError> {
    let Some((binding, served)) = typed_mut::<Binding>(object).zip(context.pods) else { return Ok(None) };
    let name = binding.metadata.name.clone().unwrap_or_default();
    let target = Target { served: served.clone(), namespace: binding.metadata.namespace.clone(), name };
    resource::bind(context.writer, asked, &target, binding).await.map(Some)
}

fn user_info(who: &Identity) -> UserInfo {
    UserInfo {
        username: Some(who.user.clone()),
        uid: Some(who.uid.clone()).filter(|uid| !uid.is_empty()),
        groups: Some(who.groups.clone()),
        extra: Some(who.extra.clone()).filter(|extra| !extra.is_empty()),
    }
}

fn who_am_i(who: &Identity, object: &mut dyn Object) -> Result<Option<Value>, ApiError> {
    if let Some(review) = typed_mut::<SelfSubjectReview>(object) {
        review.status = Some(SelfSubjectReviewStatus { user_info: Some(user_info(who)) });
    }
    Ok(None)
}

async fn token(context: &Context<'_>, object: &mut dyn Object) -> Result<Option<Value>, ApiError> {
    let Some(review) = typed_mut::<TokenReview>(object) else { return Ok(None) };
    let token = review.spec.token.clone();
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = review.spec.audiences.clone().unwrap_or_default();
    review.status = Some(match context.tokens.review(context.writer, &token, &audiences).await {
        Ok((who, audiences)) => TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(audiences).filter(|audiences| !audiences.is_empty()),
            user: Some(user_info(&who)),
            error: None,
        },
        Err(why) => {
            TokenReviewStatus { user: Some(UserInfo::default()), error: Some(why), ..TokenReviewStatus::default() }
        }
    });
    Ok(None)
}

async fn of_subject(
    context: &Context<'_>,
    spec: &SubjectAccessReviewSpec,
) -> Result<SubjectAccessReviewStatus, ApiError> {
    let who = Identity {
        user: spec.user.clone().unwrap_or_default(),
        groups: spec.groups.clone().unwrap_or_default(),
        uid: spec.uid.clone().unwrap_or_default(),
        extra: spec.extra.clone().unwrap_or_default(),
    };
    access(context, &who, spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref()).await
}

async fn access(
    context: &Context<'_>,
    who: &Identity,
    resource: Option<&ResourceAttributes>,
    path: Option<&NonResourceAttributes>,
) -> Result<SubjectAccessReviewStatus, ApiError> {
    fn text(value: &Option<String>) -> &str {
        value.as_deref().unwrap_or_default()
    }
    let filled = |value: &'_ Option<String>| value.clone().filter(|value| !value.is_empty());
    context.writer.catch_up().await?;
    let decision = match (resource, path) {
        (Some(asked), _) => {
            let (namespace, name) = (filled(&asked.namespace), filled(&asked.name));
            let action = Action::Resource {
                verb: text(&asked.verb),
                group: text(&asked.group),
                resource: text(&asked.resource),
                subresource: text(&asked.subresource),
                namespace: namespace.as_deref(),
                name: name.as_deref(),
            };
            context.authorizers.decide(who, &action)
        }
        (None, Some(asked)) => {
            let action = Action::Path { verb: text(&asked.verb), path: text(&asked.path) };
            context.authorizers.decide(who, &action)
        }
        (None, None) => Decision::NoOpinion(String::new()),
    };
    let (allowed, reason) = match decision {
        Decision::Allowed(reason) => (true, reason.to_string()),
        Decision::NoOpinion(why) => (false, why),
    };
    let reason = Some(reason).filter(|reason| !reason.is_empty());
    Ok(SubjectAccessReviewStatus { allowed, reason, ..SubjectAccessReviewStatus::default() })
}

async fn rules(context: &Context<'_>, who: &Identity, object: &mut dyn Object) -> Result<Option<Value>, ApiError> {
    let Some(review) = typed_mut::<SelfSubjectRulesReview>(object) else { return Ok(None) };
    let namespace = review.spec.namespace.clone().unwrap_or_default();
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    context.writer.catch_up().await?;
    let (held, missing) = context.authorizers.rules(who, Some(&namespace));
    let mut errors: Vec<String> = missing_text(&missing).into_iter().collect();
    if who.node().is_some() {
        errors.push("node authorizer does not support user rule resolution".to_owned());
    }
    let (mut resource_rules, mut non_resource_rules) = (Vec::new(), Vec::new());
    for rule in held {
        if rule.resources.iter().flatten().next().is_some() {
            resource_rules.push(ResourceRule {
                api_groups: rule.api_groups,
                resource_names: rule.resource_names,
                resources: rule.resources,
                verbs: rule.verbs,
            });
        } else if rule.non_resource_urls.iter().flatten().next().is_some() {
            non_resource_rules.push(NonResourceRule { non_resource_urls: rule.non_resource_urls, verbs: rule.verbs });
        }
    }
    review.status = Some(SubjectRulesReviewStatus {
        evaluation_error: Some(errors.join(", ")).filter(|errors| !errors.is_empty()),
        incomplete: !errors.is_empty(),
        non_resource_rules,
        resource_rules,
    });
    Ok(None)
}
