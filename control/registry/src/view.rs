//! A kind that shows what another kind stores.

use std::marker::PhantomData;

use jiff::Timestamp;
use serde_json::Value;

use crate::decode::decode;
use crate::kind::{Kind, View};
use crate::strategy::{Cell, Column, DecodeError, FieldError, Object, Subresource};
use crate::typed::TypedObject;

/// The [`Kind`] of a [`View`]. Defaults, columns and fields are the view's; what prepares, decides and refuses is the stored
/// kind's, which sees every object in its own form.
pub(crate) struct Viewed<V>(PhantomData<V>);

type Stored<V> = <V as View>::Stored;
type StoredObject<V> = <Stored<V> as Kind>::Object;

fn stored<V: View>(view: &V::Object) -> StoredObject<V> {
    let mut object = V::to_stored(view.clone());
    Stored::<V>::default(&mut object);
    object
}

/// Does to an object what the stored kind does.
fn through<V: View>(view: &mut V::Object, change: impl FnOnce(&mut StoredObject<V>)) {
    let mut object = V::to_stored(view.clone());
    change(&mut object);
    *view = V::from_stored(object);
}

impl<V: View> Kind for Viewed<V> {
    type Object = V::Object;

    const SINGULAR: &'static str = V::SINGULAR;
    const SHORT_NAMES: &'static [&'static str] = V::SHORT_NAMES;
    const CATEGORIES: &'static [&'static str] = V::CATEGORIES;
    const SUBRESOURCES: &'static [Subresource] = V::SUBRESOURCES;
    const COLUMNS: &'static [Column] = V::COLUMNS;
    const FIELDS: &'static [&'static str] = V::FIELDS;
    const STORED_API_VERSION: Option<&'static str> = Some(<StoredObject<V> as k8s_openapi::Resource>::API_VERSION);
    const GENERATIONS: bool = <Stored<V> as Kind>::GENERATIONS;
    const CREATES_ON_UPDATE: bool = <Stored<V> as Kind>::CREATES_ON_UPDATE;

    fn default(object: &mut V::Object) {
        V::default(object);
    }

    fn prepare_for_create(object: &mut V::Object) {
        through::<V>(object, Stored::<V>::prepare_for_create);
    }

    fn prepare_for_update(new: &mut V::Object, old: &V::Object) {
        let old = stored::<V>(old);
        through::<V>(new, |new| Stored::<V>::prepare_for_update(new, &old));
    }

    fn prepare_for_status_update(new: &mut V::Object, old: &V::Object) {
        let old = stored::<V>(old);
        through::<V>(new, |new| Stored::<V>::prepare_for_status_update(new, &old));
    }

    fn validate(object: &V::Object) -> Vec<FieldError> {
        let mut errors = V::validate(object);
        errors.extend(Stored::<V>::validate(&stored::<V>(object)));
        errors
    }

    fn validate_update(new: &V::Object, old: &V::Object) -> Vec<FieldError> {
        let mut errors = V::validate_update(new, old);
        errors.extend(Stored::<V>::validate_update(&stored::<V>(new), &stored::<V>(old)));
        errors
    }

    fn validate_status_update(new: &V::Object, old: &V::Object) -> Vec<FieldError> {
        Stored::<V>::validate_status_update(&stored::<V>(new), &stored::<V>(old))
    }

    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        Stored::<V>::validate_name(name, prefix)
    }

    fn spec_changed(new: &V::Object, old: &V::Object) -> bool {
        Stored::<V>::spec_changed(&stored::<V>(new), &stored::<V>(old))
    }

    fn encode_stored(object: &V::Object) -> Option<Box<dyn Object>> {
        Some(Box::new(TypedObject(stored::<V>(object))))
    }

    fn decode_stored(value: Value) -> Result<V::Object, DecodeError> {
        Ok(V::from_stored(decode(value)?.0))
    }

    fn row(object: &V::Object, now: Timestamp) -> Vec<Cell> {
        V::row(object, now)
    }

    fn fields(object: &V::Object) -> Vec<(&'static str, String)> {
        V::fields(object)
    }
}
