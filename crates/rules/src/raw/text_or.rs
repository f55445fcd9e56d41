//! Values that may be written as one text or as a mapping.
//!
//! Untagged enums would do it too, but they answer every mistake with "did not match any variant". This one keeps the
//! path, the position and the sentence of a mistake inside the mapping; serde-untagged would turn it into plain text.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// A text, or the mapping `M`.
#[derive(Debug, Clone)]
pub(crate) enum TextOr<M> {
    Text(String),
    Table(M),
}

impl<'de, M: Deserialize<'de>> Deserialize<'de> for TextOr<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrVisitor(PhantomData))
    }
}

struct TextOrVisitor<M>(PhantomData<M>);

impl<'de, M: Deserialize<'de>> Visitor<'de> for TextOrVisitor<M> {
    type Value = TextOr<M>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text (in quotes where it looks like a number) or a mapping")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextOr::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        M::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Table)
    }
}

impl<M: JsonSchema> JsonSchema for TextOr<M> {
    fn schema_name() -> Cow<'static, str> {
        format!("TextOr{}", M::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, generator.subschema_for::<M>()] })
    }
}
