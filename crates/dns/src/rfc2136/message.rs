//! The messages: queries, updates with prerequisites, and what an answer means.
//!
//! Sources: RFC 1035 section 4, RFC 2136 sections 2 and 3, RFC 6895 (codes).

use domain::base::iana::{Class, Opcode, Rcode, Rtype, TsigRcode};
use domain::base::message_builder::{AdditionalBuilder, AnswerBuilder, PushError};
use domain::base::{Message, MessageBuilder, Name, Ttl, UnknownRecordData};
use domain::rdata::{A, Aaaa, Cname, Tsig, Txt};
use transship_engine::names::{Entry, RecordSet, text_name};
use transship_oci::{Code, Error, Operation, Result};
use transship_rules::{Hostname, RecordKind};

pub(super) type WireName = Name<Vec<u8>>;

/// Types that must not exist under a name that becomes a CNAME: a server ignores the CNAME beside them (RFC 2136, section
/// 3.4.2.2), after it has removed the old record.
const BESIDE_ALIAS: [Rtype; 13] = [
    Rtype::TXT,
    Rtype::MX,
    Rtype::NS,
    Rtype::SOA,
    Rtype::CAA,
    Rtype::SRV,
    Rtype::HTTPS,
    Rtype::SVCB,
    Rtype::NAPTR,
    Rtype::PTR,
    Rtype::TLSA,
    Rtype::SSHFP,
    Rtype::LOC,
];

pub(super) const fn rtype(kind: RecordKind) -> Rtype {
    match kind {
        RecordKind::Cname => Rtype::CNAME,
        RecordKind::A => Rtype::A,
        RecordKind::Aaaa => Rtype::AAAA,
    }
}

pub(super) fn wire(name: &str, operation: &Operation) -> Result<WireName> {
    name.parse()
        .map_err(|error| Error::of(Code::DnsZoneInvalid, operation.clone()).because(error))
}

/// A query for the records of one type.
pub(super) fn query(name: &WireName, rtype: Rtype) -> std::result::Result<Vec<u8>, PushError> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(fastrand::u16(..));
    let mut question = builder.question();
    question.push((name, rtype))?;
    Ok(question.finish())
}

/// A query to a resolver, which answers from other servers.
pub(super) fn recursive_query(name: &WireName, rtype: Rtype) -> std::result::Result<Vec<u8>, PushError> {
    let mut query = query(name, rtype)?;
    // Source: RFC 1035, section 4.1.1: bit 7 of the third byte is RD.
    if let Some(flags) = query.get_mut(2) {
        *flags |= 1;
    }
    Ok(query)
}

/// The update that replaces `before` by `after`, to be signed.
pub(super) fn update(
    zone: &WireName,
    name: &Hostname,
    (before, after): (&Entry, &Entry),
    operation: &Operation,
) -> Result<AdditionalBuilder<Vec<u8>>> {
    let names = (
        wire(name.as_str(), operation)?,
        wire(text_name(name)?.as_str(), operation)?,
    );
    let changes = (data(before, operation)?, data(after, operation)?);
    build(zone, &names, &changes).map_err(|error| Error::of(Code::DnsRefused, operation.clone()).because(error))
}

/// An update that changes nothing, to be signed: it has the prerequisites of `entry` and no update. A server checks the key and its
/// right to the zone all the same (RFC 2136, section 3); a right to single names shows only with an update.
pub(super) fn no_update(
    zone: &WireName,
    name: &Hostname,
    entry: &Entry,
    operation: &Operation,
) -> Result<AdditionalBuilder<Vec<u8>>> {
    let names = (
        wire(name.as_str(), operation)?,
        wire(text_name(name)?.as_str(), operation)?,
    );
    let data = data(entry, operation)?;
    let built = prerequisites(zone, &names, (&data, &data)).map(|built| built.authority().additional());
    built.map_err(|error| Error::of(Code::DnsRefused, operation.clone()).because(error))
}

/// The data of an entry by type: those of the name, and that of the text. A type without data has an empty list.
struct Data {
    records: Vec<(Rtype, Vec<Vec<u8>>, u32)>,
    texts: Vec<Vec<u8>>,
    text_ttl_seconds: u32,
}

fn data(entry: &Entry, operation: &Operation) -> Result<Data> {
    let invalid = || Error::of(Code::DnsRefused, operation.clone()).because("a value is not valid");
    let mut records = Vec::new();
    for kind in RecordKind::ALL {
        let set = entry.set(kind);
        let values = set.map_or(&[][..], |set| &set.values);
        let bytes = values.iter().map(|value| match kind {
            RecordKind::Cname => value.parse::<WireName>().ok().map(Name::into_octets),
            RecordKind::A => value
                .parse()
                .ok()
                .map(|address: std::net::Ipv4Addr| address.octets().to_vec()),
            RecordKind::Aaaa => value
                .parse()
                .ok()
                .map(|address: std::net::Ipv6Addr| address.octets().to_vec()),
        });
        let bytes: Option<Vec<Vec<u8>>> = bytes.collect();
        records.push((
            rtype(kind),
            bytes.ok_or_else(invalid)?,
            set.map_or(0, |set| set.ttl_seconds),
        ));
    }
    let texts = entry.texts.iter().map(|text| {
        // Strings of a TXT record have at most 255 bytes.
        let strings = text.as_bytes().chunks(255).map(|string| {
            let length = u8::try_from(string.len()).unwrap_or(u8::MAX);
            [&[length], string].concat()
        });
        strings.collect::<Vec<_>>().concat()
    });
    Ok(Data {
        records,
        texts: texts.collect(),
        text_ttl_seconds: entry.records.first().map_or(0, |set| set.ttl_seconds),
    })
}

fn record(rtype: Rtype, bytes: &[u8]) -> std::result::Result<UnknownRecordData<Vec<u8>>, PushError> {
    // No value is longer than a message.
    UnknownRecordData::from_octets(rtype, bytes.to_vec()).map_err(|_| PushError::ShortBuf)
}

/// The beginning of an update that replaces `before` by `after`.
fn prerequisites(
    zone: &WireName,
    (name, text): &(WireName, WireName),
    (before, after): (&Data, &Data),
) -> std::result::Result<AnswerBuilder<Vec<u8>>, PushError> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(fastrand::u16(..));
    builder.header_mut().set_opcode(Opcode::UPDATE);
    let mut question = builder.question();
    question.push((zone, Rtype::SOA))?;

    // Prerequisites. Values of one type together are the whole set (RFC 2136, section 2.4.2).
    let mut prerequisites = question.answer();
    let texts = (Rtype::TXT, before.texts.clone(), 0);
    let sets = before.records.iter().map(|set| (name, set)).chain([(text, &texts)]);
    for (owner, (rtype, values, _)) in sets {
        if values.is_empty() {
            prerequisites.push((owner, Class::NONE, Ttl::ZERO, record(*rtype, &[])?))?;
        }
        for value in values {
            prerequisites.push((owner, Class::IN, Ttl::ZERO, record(*rtype, value)?))?;
        }
    }
    let has_alias = |data: &Data| {
        data.records
            .iter()
            .any(|(rtype, values, _)| *rtype == Rtype::CNAME && !values.is_empty())
    };
    if has_alias(after) && !has_alias(before) {
        for rtype in BESIDE_ALIAS {
            prerequisites.push((name, Class::NONE, Ttl::ZERO, record(rtype, &[])?))?;
        }
    }
    Ok(prerequisites)
}

fn build(
    zone: &WireName,
    names: &(WireName, WireName),
    (before, after): &(Data, Data),
) -> std::result::Result<AdditionalBuilder<Vec<u8>>, PushError> {
    let (name, text) = names;
    let prerequisites = prerequisites(zone, names, (before, after))?;
    // Every old set is removed before the first new record, because a CNAME has no neighbours.
    let mut updates = prerequisites.authority();
    for (rtype, values, _) in &before.records {
        if !values.is_empty() {
            updates.push((name, Class::ANY, Ttl::ZERO, record(*rtype, &[])?))?;
        }
    }
    if !before.texts.is_empty() {
        updates.push((text, Class::ANY, Ttl::ZERO, record(Rtype::TXT, &[])?))?;
    }
    for (rtype, values, ttl_seconds) in &after.records {
        for value in values {
            updates.push((name, Class::IN, Ttl::from_secs(*ttl_seconds), record(*rtype, value)?))?;
        }
    }
    for value in &after.texts {
        let ttl = Ttl::from_secs(after.text_ttl_seconds);
        updates.push((text, Class::IN, ttl, record(Rtype::TXT, value)?))?;
    }
    Ok(updates.additional())
}

/// What the code of an answer means.
pub(super) fn check(code: Rcode, server: &str, operation: &Operation) -> Result<()> {
    let (meaning, why) = match code {
        Rcode::NOERROR => return Ok(()),
        Rcode::NXRRSET | Rcode::YXRRSET | Rcode::NXDOMAIN | Rcode::YXDOMAIN => {
            (Code::DnsRecordChanged, "the records are not those that were read")
        }
        Rcode::NOTAUTH | Rcode::NOTZONE => (Code::DnsZoneInvalid, "it is not the primary server of the zone"),
        Rcode::REFUSED => (Code::DnsRefused, "the key may not change this zone or these records"),
        Rcode::NOTIMP => (Code::DnsRefused, "it does not support dynamic updates"),
        Rcode::FORMERR => (Code::DnsRefused, "it does not understand the request"),
        _ => (Code::DnsUnavailable, "it failed"),
    };
    Err(Error::of(meaning, operation.clone()).because(format_args!("{server} answered {code}, {why}")))
}

/// The same for an update that changes nothing. A server that finds such an update malformed, or fails at it, may accept a change.
pub(super) fn check_no_update(code: Rcode, server: &str, operation: &Operation) -> Result<()> {
    match code {
        Rcode::FORMERR | Rcode::SERVFAIL => Ok(()),
        code => check(code, server, operation),
    }
}

/// The set of one kind in the answer to a query for it; [`None`] if there is none.
pub(super) fn record_set(
    message: &Message<Vec<u8>>,
    name: &WireName,
    kind: RecordKind,
) -> std::result::Result<Option<RecordSet>, String> {
    let broken = |error: domain::base::wire::ParseError| error.to_string();
    let mut values = Vec::new();
    let mut ttl_seconds = u32::MAX;
    for record in message.answer().map_err(broken)? {
        let record = record.map_err(broken)?;
        if record.rtype() != rtype(kind) || record.class() != Class::IN || record.owner() != *name {
            continue;
        }
        ttl_seconds = ttl_seconds.min(record.ttl().as_secs());
        let value = match kind {
            RecordKind::Cname => record
                .to_record::<Cname<_>>()
                .map(|record| record.map(|record| record.data().cname().to_string())),
            RecordKind::A => record
                .to_record::<A>()
                .map(|record| record.map(|record| record.data().to_string())),
            RecordKind::Aaaa => record
                .to_record::<Aaaa>()
                .map(|record| record.map(|record| record.data().to_string())),
        };
        values.extend(value.map_err(broken)?);
    }
    if values.is_empty() {
        return Ok(None);
    }
    // A name with characters that hosts do not have belongs to no site: it is shown as it is.
    let set = RecordSet::parse(kind, &values, ttl_seconds).unwrap_or(RecordSet {
        kind,
        values,
        ttl_seconds,
    });
    Ok(Some(set))
}

/// The texts in the answer to a query for them, sorted.
pub(super) fn texts(message: &Message<Vec<u8>>, name: &WireName) -> std::result::Result<Vec<String>, String> {
    let broken = |error: domain::base::wire::ParseError| error.to_string();
    let mut texts = Vec::new();
    for record in message.answer().map_err(broken)? {
        let record = record.map_err(broken)?;
        if record.rtype() != Rtype::TXT || record.owner() != *name {
            continue;
        }
        if let Some(record) = record.to_record::<Txt<_>>().map_err(broken)? {
            let bytes: Vec<u8> = record.data().text();
            texts.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    texts.sort_unstable();
    Ok(texts)
}

/// The time of a server that refuses the time of the request, in seconds since 1970. Source: RFC 8945, section 5.2.3.
pub(super) fn time_of_refusal(message: &Message<Vec<u8>>) -> Option<u64> {
    let records = message.additional().ok()?;
    let mut signatures = records.limit_to::<Tsig<_, _>>();
    let signature = signatures.find_map(std::result::Result::ok)?;
    let is_refusal = signature.data().error() == TsigRcode::BADTIME;
    is_refusal
        .then(|| signature.data().other_time())
        .flatten()
        .map(u64::from)
}
