//! By what messages are found: terms, which are hashes of what is searched for, and ids, which begin with the time.

use std::hash::Hasher;

/// What messages are found by, besides their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Sender,
    Recipient,
    Account,
    MessageId,
}

/// The term of a value. Addresses are the same in any case, and message ids with or without their angles.
pub(crate) fn hash(field: Field, value: &str) -> i64 {
    let value = value.trim_start_matches('<').trim_end_matches('>');
    // Of the standard library, and the same in every process: its keys are fixed. That it stays the same with the next compiler nobody promises but
    // the test below; were it another, what is in databases would not be found.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write_u8(field as u8);
    hasher.write(value.to_lowercase().as_bytes());
    // 40 bits: short in the file, and what is found is compared.
    (hasher.finish() >> 24) as i64
}

/// The minute in which the message with this id came.
pub(crate) fn minute_of(id: &str) -> i64 {
    let at = ulid::Ulid::from_string(id).map_or(0, |id| id.timestamp_ms());
    i64::try_from(at / 60_000).unwrap_or(i64::MAX)
}

/// The least id of a millisecond.
pub(crate) fn first_id(millisecond: i64) -> String {
    ulid::Ulid::from_parts(millisecond.try_into().unwrap_or(0), 0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_what_it_was_when_databases_were_written() {
        for (field, value, term) in [
            (Field::Sender, "Ann@x.test", 0x003d_713b_f2f1),
            (Field::Recipient, "b@Y.test", 0x00cf_394e_72c5),
            (Field::Account, "shop", 0x0067_0b4e_1bc5),
            (Field::MessageId, "<1@x.test>", 0x00cf_9dab_03ce),
            (Field::Sender, "", 0x0068_a914_128e),
        ] {
            assert_eq!(hash(field, value), term, "{field:?} {value}");
        }
    }
}
