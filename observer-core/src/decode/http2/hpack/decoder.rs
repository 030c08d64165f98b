//! Header blocks (RFC 7541 section 6): the bytes of one block come in, its fields go out, the table is kept up.

use super::fields::{Fields, Name, is_traceparent};
use super::reader::{Reader, Text};
use super::static_table::STATIC_TABLE;
use super::table::Table;
use crate::decode::http1::start_line::Role;
use crate::message::Interest;

/// The decoder of one direction.
#[derive(Debug)]
pub(in crate::decode::http2) struct Decoder {
    table: Table,
    /// The edition of [`Interest`] that the names in the table are of.
    edition: Option<u64>,
}

/// A block that is none: what it did to the table is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode::http2) struct Broken;

/// What a name is and how long.
type Named = (Name, u32);

impl Decoder {
    pub(in crate::decode::http2) fn new() -> Self {
        Self { table: Table::new(), edition: None }
    }

    /// Blocks were missed.
    pub(in crate::decode::http2) fn forget(&mut self) {
        self.table.forget();
    }

    pub(in crate::decode::http2) fn buffered_bytes(&self) -> usize {
        self.table.buffered_bytes()
    }

    /// Decodes the next block. Fields that refer to what is not known are noted as hidden.
    ///
    /// # Errors
    /// A block that RFC 7541 forbids; there are no fields then, and the table is forgotten.
    pub(in crate::decode::http2) fn decode(
        &mut self,
        block: &[u8],
        interest: &Interest,
        fields: &mut Fields,
    ) -> Result<(), Broken> {
        let edition = Some(interest.edition());
        if self.edition != edition {
            self.edition = edition;
            self.table.forget_names();
        }
        fields.clear();
        if self.read(block, interest, fields).is_some() {
            return Ok(());
        }
        fields.clear();
        self.table.forget();
        Err(Broken)
    }

    fn read(&mut self, block: &[u8], interest: &Interest, fields: &mut Fields) -> Option<()> {
        let mut reader = Reader::new(block);
        let mut begun = false;
        while let Some(first) = reader.byte() {
            match first {
                0x80.. => {
                    let index = reader.integer(first, 0x7f)?;
                    self.indexed(index, interest, fields)?;
                }
                0x40..0x80 => {
                    let index = reader.integer(first, 0x3f)?;
                    self.literal(index, true, &mut reader, interest, fields)?;
                }
                // The size is changed at the beginning of a block (RFC 7541 section 4.2).
                0x20..0x40 if begun => return None,
                0x20..0x40 => {
                    self.table.resize(reader.integer(first, 0x1f)?);
                    continue;
                }
                // Without indexing, and never indexed.
                0..0x20 => {
                    let index = reader.integer(first, 0x0f)?;
                    self.literal(index, false, &mut reader, interest, fields)?;
                }
            }
            begun = true;
        }
        Some(())
    }

    fn indexed(&self, index: u32, interest: &Interest, fields: &mut Fields) -> Option<()> {
        match entry(index)? {
            Entry::Static(name, value) => {
                fields.add(Name::of(name.as_bytes(), interest), Some(value.as_bytes()));
            }
            Entry::Dynamic(depth) => match self.table.get(depth) {
                Some(known) => fields.add(known.name, known.value),
                None => fields.add(Name::Unknown, None),
            },
        }
        Some(())
    }

    fn literal(
        &mut self,
        index: u32,
        inserts: bool,
        reader: &mut Reader<'_>,
        interest: &Interest,
        fields: &mut Fields,
    ) -> Option<()> {
        let (name, name_len) =
            if index == 0 { new_name(reader.string()?, interest, fields)? } else { self.name(index, interest)? };
        let value = reader.string()?;
        fields.note(name);
        if !name.matters() {
            if inserts {
                self.table.insert(name, name_len, value.len()?, None);
            }
            return Some(());
        }
        let start = fields.len();
        let value_len = value.append_to(fields.bytes_mut())?;
        if name == Name::Path
            && let Some(query) = memchr::memchr(b'?', fields.bytes_from(start))
        {
            // Queries may hold secrets.
            fields.truncate(start.saturating_add(query));
        }
        if inserts {
            let value = fields.bytes_from(start);
            let value = (name != Name::Unknown || is_traceparent(value)).then_some(value);
            self.table.insert(name, name_len, value_len, value);
        }
        fields.keep(name, start);
        Some(())
    }

    /// The name of an entry; of one that is not known the least length.
    fn name(&self, index: u32, interest: &Interest) -> Option<Named> {
        Some(match entry(index)? {
            Entry::Static(name, _) => (Name::of(name.as_bytes(), interest), u32::try_from(name.len()).unwrap_or(0)),
            Entry::Dynamic(depth) => {
                self.table.get(depth).map_or((Name::Unknown, 1), |known| (known.name, known.name_len))
            }
        })
    }
}

fn new_name(text: Text<'_>, interest: &Interest, fields: &mut Fields) -> Option<Named> {
    let start = fields.len();
    let len = text.append_to(fields.bytes_mut())?;
    let name = Name::of(fields.bytes_from(start), interest);
    fields.truncate(start);
    Some((name, u32::try_from(len).ok()?))
}

/// What an index points at.
enum Entry {
    Static(&'static str, &'static str),
    /// So far from the newest.
    Dynamic(usize),
}

/// `None` for 0, which is no index.
fn entry(index: u32) -> Option<Entry> {
    let index = usize::try_from(index.checked_sub(1)?).ok()?;
    Some(match STATIC_TABLE.get(index) {
        Some(&(name, value)) => Entry::Static(name, value),
        None => Entry::Dynamic(index.saturating_sub(STATIC_TABLE.len())),
    })
}

/// Pseudo-headers of a request whose names may be unknown before one that is not (RFC 9113 section 8.3.1).
const UNKNOWN_FIELDS_MAX: usize = 4;

/// Who sent a block, told from its first fields: requests begin with `:method` and the like, responses with `:status`. What
/// refers to entries that were not seen is passed over.
pub(in crate::decode::http2) fn role(block: &[u8]) -> Option<Role> {
    let mut reader = Reader::new(block);
    let mut unknown = 0_usize;
    while unknown <= UNKNOWN_FIELDS_MAX {
        let first = reader.byte()?;
        let prefix = match first {
            0x80.. => 0x7f,
            0x40..0x80 => 0x3f,
            0x20..0x40 => {
                reader.integer(first, 0x1f)?;
                continue;
            }
            0..0x20 => 0x0f,
        };
        let index = reader.integer(first, prefix)?;
        if index == 0 && first < 0x80 {
            let mut name = Vec::new();
            reader.string()?.append_to(&mut name)?;
            return role_of(&name);
        }
        match entry(index)? {
            Entry::Static(name, _) => return role_of(name.as_bytes()),
            Entry::Dynamic(_) if first < 0x80 => {
                reader.string()?;
            }
            Entry::Dynamic(_) => {}
        }
        unknown = unknown.saturating_add(1);
    }
    None
}

/// Who sends a field of this name before all others.
fn role_of(name: &[u8]) -> Option<Role> {
    match name {
        b":status" => Some(Role::Responses),
        [b':', ..] => Some(Role::Requests),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
