//! What is bound to statements.

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// A value that is bound, with the type it has in statements that are not prepared.
pub(super) trait Param: ToSql + Sync {
    fn sql_type(&self) -> Type;
    fn as_sql(&self) -> &(dyn ToSql + Sync);
}

macro_rules! params {
    ($($rust:ty => $sql:ident),* $(,)?) => {$(
        impl Param for $rust {
            fn sql_type(&self) -> Type {
                Type::$sql
            }
            fn as_sql(&self) -> &(dyn ToSql + Sync) {
                self
            }
        }
    )*};
}

params! {
    i16 => INT2, i32 => INT4, i64 => INT8, bool => BOOL, String => TEXT, &str => TEXT, &[u8] => BYTEA, Vec<u8> => BYTEA, Uuid => UUID,
    Option<i16> => INT2, Option<i64> => INT8, Option<i32> => INT4, Option<String> => TEXT, Option<&str> => TEXT, Option<Uuid> => UUID,
    Vec<i16> => INT2_ARRAY, Vec<i32> => INT4_ARRAY, Vec<i64> => INT8_ARRAY, Vec<bool> => BOOL_ARRAY, Vec<String> => TEXT_ARRAY,
    &[i64] => INT8_ARRAY, Vec<Vec<u8>> => BYTEA_ARRAY, Vec<&[u8]> => BYTEA_ARRAY, Vec<Option<&[u8]>> => BYTEA_ARRAY,
    Vec<Option<i16>> => INT2_ARRAY, Vec<Option<i64>> => INT8_ARRAY, Vec<Option<String>> => TEXT_ARRAY, Vec<Option<Uuid>> => UUID_ARRAY,
}

/// What is bound to a statement.
pub(super) type Params<'p> = &'p [&'p (dyn Param + 'p)];

/// As a statement that is prepared takes them.
pub(super) fn untyped<'p>(params: Params<'p>) -> Vec<&'p (dyn ToSql + Sync)> {
    params.iter().map(|param| param.as_sql()).collect()
}

/// As one that is not takes them.
pub(super) fn typed<'p>(params: Params<'p>) -> Vec<(&'p (dyn ToSql + Sync), Type)> {
    params
        .iter()
        .map(|param| (param.as_sql(), param.sql_type()))
        .collect()
}
