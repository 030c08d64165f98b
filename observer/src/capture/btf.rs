//! How the running kernel lays out its structures: its own description of its types comes in (BTF, Documentation/bpf/btf.rst in the
//! kernel's sources), offsets of members go out.

use std::collections::HashMap;

/// What is wrong with a description, or missing in it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is broken")]
    Broken,
    #[error("{0}.{1} is not in it, or not as a whole number of bytes, or in several ways")]
    Member(&'static str, &'static str),
}

const MAGIC: u32 = 0xeb9f;
const HEADER_BYTES: usize = 24;
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;

/// Kinds of types, and bytes that follow each by the number of its parts (include/uapi/linux/btf.h).
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const fn rest(kind: u32, parts: usize) -> Option<usize> {
    Some(match kind {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        // ARRAY
        3 => 12,
        STRUCT | UNION => MEMBER_BYTES * parts,
        // ENUM, FUNC_PROTO
        6 | 13 => 8 * parts,
        // DATASEC, ENUM64
        15 | 19 => 12 * parts,
        _ => return None,
    })
}

/// Bytes from the beginning of each structure to its member, in the order asked for. Members of unnamed parts count as the
/// structure's own, as in C.
pub(super) fn offsets<const N: usize>(
    bytes: &[u8],
    members: &[(&'static str, &'static str); N],
) -> Result<[u32; N], Fault> {
    let types = Types::read(bytes).ok_or(Fault::Broken)?;
    let mut of_structures: HashMap<&str, Vec<usize>> = HashMap::new();
    for (structure, _) in members {
        of_structures.entry(structure).or_default();
    }
    for &at in &types.places {
        let (name, kind, _) = types.head(at).ok_or(Fault::Broken)?;
        if kind == STRUCT
            && let Some(places) =
                std::str::from_utf8(types.name(name)).ok().and_then(|name| of_structures.get_mut(name))
        {
            places.push(at);
        }
    }
    let mut offsets = [0; N];
    for (offset, (structure, member)) in offsets.iter_mut().zip(members) {
        let missing = || Fault::Member(structure, member);
        let places = of_structures.get(structure).map_or(&[][..], Vec::as_slice);
        // Another structure of the same name may be private to a file.
        let mut found = places.iter().filter_map(|at| types.member(*at, member.as_bytes(), DEPTH_MAX));
        let bits = found.next().ok_or_else(missing)?;
        if !found.all(|other| other == bits) || bits % 8 != 0 {
            return Err(missing());
        }
        *offset = bits / 8;
    }
    Ok(offsets)
}

/// Unnamed parts of unnamed parts that are looked into.
const DEPTH_MAX: u32 = 8;

/// The types of a description.
struct Types<'a> {
    bytes: &'a [u8],
    names: &'a [u8],
    /// Where each begins, by its number less one.
    places: Vec<usize>,
}

impl<'a> Types<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        if word(bytes, 0)? & 0xffff != MAGIC {
            return None;
        }
        let body = bytes.get(word(bytes, 4)?.max(u32::try_from(HEADER_BYTES).ok()?) as usize..)?;
        let section = |at: usize| -> Option<&[u8]> {
            let (start, len) = (word(bytes, at)? as usize, word(bytes, at + 4)? as usize);
            body.get(start..start.checked_add(len)?)
        };
        let mut types = Self { bytes: section(8)?, names: section(16)?, places: Vec::new() };
        let mut at = 0;
        while at < types.bytes.len() {
            let (_, kind, parts) = types.head(at)?;
            types.places.push(at);
            at += TYPE_BYTES + rest(kind, parts)?;
        }
        Some(types)
    }

    /// Name, kind and number of parts of the type that begins there.
    fn head(&self, at: usize) -> Option<(u32, u32, usize)> {
        let information = word(self.bytes, at + 4)?;
        Some((word(self.bytes, at)?, information >> 24 & 31, information as usize & 0xffff))
    }

    fn name(&self, at: u32) -> &'a [u8] {
        let rest = self.names.get(at as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Bits from the beginning of the structure that begins there to its member; none of a bit field.
    fn member(&self, at: usize, name: &[u8], depth: u32) -> Option<u32> {
        let (_, kind, parts) = self.head(at)?;
        if !matches!(kind, STRUCT | UNION) {
            return None;
        }
        let has_bit_fields = word(self.bytes, at + 4)? >> 31 != 0;
        let mut members = (0..parts).map(|part| at + TYPE_BYTES + MEMBER_BYTES * part);
        members.find_map(|at| {
            let [own_name, kind, offset] = [0, 4, 8].map(|field| word(self.bytes, at + field));
            let (own_name, kind, offset) = (self.name(own_name?), kind?, offset?);
            let (bits, offset) = if has_bit_fields { (offset >> 24, offset & 0xff_ffff) } else { (0, offset) };
            if own_name == name {
                return (bits == 0).then_some(offset);
            }
            if !own_name.is_empty() || depth == 0 {
                return None;
            }
            let place = *self.places.get((kind as usize).checked_sub(1)?)?;
            Some(offset + self.member(place, name, depth - 1)?)
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description: `struct s { int a; struct { union { int b; int c; }; }; int d:3; int e; }` twice, the second time with `e`
    /// elsewhere.
    fn description() -> Vec<u8> {
        const INT: u32 = 1;
        let names = b"\0s\0a\0b\0c\0d\0e\0int\0";
        let name = |name: u8| u32::try_from(names.iter().position(|each| *each == name).unwrap()).unwrap();
        let kind = |kind: u32, parts: u32, bits: u32| bits << 31 | kind << 24 | parts;
        let member = |named: u8, kind: u32, at: u32| [name(named), kind, at];
        let mut types: Vec<u32> = vec![name(b'i'), kind(1, 0, 0), 4, 32];
        types.extend([0, kind(UNION, 2, 0), 4]);
        types.extend([member(b'b', INT, 0), member(b'c', INT, 0)].concat());
        types.extend([0, kind(STRUCT, 1, 0), 4, 0, 2, 0]);
        for e_at in [96, 128] {
            types.extend([name(b's'), kind(STRUCT, 4, 1), 20]);
            types.extend(
                [member(b'a', INT, 0), [0, 3, 32], member(b'd', INT, 3 << 24 | 64), member(b'e', INT, e_at)].concat(),
            );
        }
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
        let (types_len, names_len) = (u32::try_from(types.len()).unwrap(), u32::try_from(names.len()).unwrap());
        let header = [MAGIC | 1 << 16, 24, 0, types_len, types_len, names_len];
        [header.into_iter().flat_map(u32::to_ne_bytes).collect(), types, names.to_vec()].concat()
    }

    #[test]
    fn members_are_found_in_unnamed_parts_and_bit_fields_are_not() {
        let bytes = description();
        assert_eq!(offsets(&bytes, &[("s", "c"), ("s", "a"), ("s", "b")]), Ok([4, 0, 4]));
        for member in ["d", "e", "f"] {
            assert_eq!(offsets(&bytes, &[("s", member)]), Err(Fault::Member("s", member)));
        }
        assert_eq!(offsets(&bytes, &[("t", "a")]), Err(Fault::Member("t", "a")));
    }

    #[test]
    fn a_description_that_is_cut_is_broken() {
        let bytes = description();
        for len in 0..bytes.len() {
            assert_eq!(offsets(&bytes[..len], &[("s", "a")]), Err(Fault::Broken), "{len}");
        }
    }
}
