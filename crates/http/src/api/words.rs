//! Closed sets of words, as the API reads, writes and describes them.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smtp_config::Scope;
use smtp_queue::{State, SuspensionKind};
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Makes a type of a set whose values have names.
macro_rules! words {
    ($( $(#[doc = $doc:literal])+ $name:ident($set:ty), $schema:literal; )+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) $set);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.name())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = Cow::<'de, str>::deserialize(deserializer)?;
                let found = <$set>::ALL.into_iter().find(|value| value.name() == word);
                found.map($name).ok_or_else(|| {
                    let names = <$set>::ALL.map(<$set>::name).join(", ");
                    D::Error::custom(format!("{word:?} is not one of {names}"))
                })
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let doc = concat!($( $doc ),+).trim();
                let words = ObjectBuilder::new().schema_type(Type::String).description(Some(doc));
                words.enum_values(Some(<$set>::ALL.map(<$set>::name))).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                $schema.into()
            }
        }
    )+ };
}

words! {
    /// Where a recipient stands.
    StateName(State), "State";
    /// What a suspension is about.
    KindName(SuspensionKind), "SuspensionKind";
    /// What a token may do; each includes the ones before.
    ScopeName(Scope), "Scope";
}
