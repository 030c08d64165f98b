//! The table that Go's runtime keeps of all functions (runtime/symtab.go, debug/gosym), in the forms of Go 1.16, 1.18 and 1.20.

use memchr::memmem::{Finder, find};
use object::LittleEndian as LE;
use object::elf::{Rela64, SHT_RELA};
use std::ops::{ControlFlow, Range};

use super::Fault;
use super::elf::{Elf, Segment, table};
use super::source::{u32_at, u64_at};

/// Functions of a program: one that asks for a page has 4,700 (Go 1.27).
const FUNCTIONS_MAX: u64 = 1 << 22;
/// Bytes of all their names.
const NAMES_MAX: u64 = 256 << 20;
/// Places that look like the table's beginning.
const CANDIDATES_MAX: usize = 64;
/// From `moduledata.pcHeader` to `moduledata.text`: a pointer, six slices, three pointers (runtime/symtab.go, Go 1.16 to 1.27).
const TEXT_IN_MODULE: u64 = 8 + 6 * 24 + 3 * 8;

/// Why a table cannot be used.
type Why = &'static str;

/// A layout of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Entries are addresses.
    Go116,
    /// Entries are distances from where the code begins.
    Go118,
}

/// The table.
pub(super) struct Pclntab {
    form: Form,
    /// Of its first byte, in the file and in memory.
    at: u64,
    address: u64,
    /// The number of functions.
    count: u64,
    /// Where their names are and where the functions are, as in the file.
    names: Range<u64>,
    functions: u64,
    /// As the header has it: zero from Go 1.26 on, and where it is for the dynamic linker to write.
    text: u64,
}

/// A function.
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub(super) address: u64,
    /// Bytes up to the function behind it.
    pub(super) len: u64,
}

impl Pclntab {
    /// Finds the table by its section, or by how it begins.
    pub(super) fn find(elf: &Elf) -> Result<Result<Self, Why>, Fault> {
        for name in [&b".gopclntab"[..], b".data.rel.ro.gopclntab"] {
            if let Some(section) = elf.section(name) {
                return Self::read(elf, section.offset);
            }
        }
        let mut candidates = Vec::new();
        for segment in &elf.segments {
            elf.source.scan(segment.range(), 8, |from, bytes| {
                let behind = Finder::new(b"\xff\xff\xff\0\0");
                for place in behind.find_iter(bytes).filter_map(|place| place.checked_sub(1)) {
                    let at = from + place as u64;
                    let begins = bytes.get(place..place + 8).is_some_and(|bytes| form(bytes).is_ok());
                    if begins && !candidates.contains(&at) && candidates.len() < CANDIDATES_MAX {
                        candidates.push(at);
                    }
                }
                ControlFlow::Continue(())
            })?;
        }
        for at in candidates {
            if let Ok(table) = Self::read(elf, at)? {
                return Ok(Ok(table));
            }
        }
        Ok(Err("it was not found"))
    }

    fn read(elf: &Elf, at: u64) -> Result<Result<Self, Why>, Fault> {
        let bytes = elf.source.read(at, 72)?;
        let form = match form(&bytes) {
            Ok(form) => form,
            Err(why) => return Ok(Err(why)),
        };
        let word = |index: usize| u64_at(&bytes, 8 + 8 * index).unwrap_or(0);
        // nfunc, nfiles, from Go 1.18 on textStart, then where the names, units, files, tables and functions are.
        let (text, offsets) = if form == Form::Go116 { (0, 2) } else { (word(2), 3) };
        let (names, units, functions, count) = (word(offsets), word(offsets + 1), word(offsets + 4), word(0));
        let Some(address) = elf.address(at) else { return Ok(Err("it is not loaded")) };
        let sound = count > 0
            && count < FUNCTIONS_MAX
            && names < units
            && units < functions
            && units - names < NAMES_MAX
            && at.checked_add(functions).is_some();
        if !sound {
            return Ok(Err("its header is not sound"));
        }
        Ok(Ok(Self { form, at, address, count, names: at + names..at + units, functions: at + functions, text }))
    }

    /// The functions of these names, in their order; none where a name is not there.
    pub(super) fn functions(&self, elf: &Elf, wanted: &[&str]) -> Result<Result<Vec<Option<Body>>, Why>, Fault> {
        let mut bodies = vec![None; wanted.len()];
        let names = self.name_places(elf, wanted)?;
        if names.iter().all(Option::is_none) {
            return Ok(Ok(bodies));
        }
        let Some(text) = self.text(elf)? else { return Ok(Err("where the code begins is not told")) };
        // An entry is where the function begins and where more about it stands, from the beginning of the functions on.
        let half: u64 = if self.form == Form::Go116 { 8 } else { 4 };
        let (mut entries, mut details) = (elf.source.window(), elf.source.window());
        let mut entry = |at: u64| -> Result<u64, Fault> {
            if half == 8 {
                Ok(u64::from_le_bytes(entries.array(at)?))
            } else {
                Ok(u32::from_le_bytes(entries.array(at)?).into())
            }
        };
        let add = |at: u64, bytes: u64| at.checked_add(bytes).ok_or(Fault::Malformed("Go's functions"));
        for index in 0..self.count {
            let at = add(self.functions, index * 2 * half)?;
            let details_at = entry(add(at, half)?)?;
            // The name follows the entry's own copy of where it begins.
            let name_at = add(add(self.functions, details_at)?, half)?;
            let name = u64::from(u32::from_le_bytes(details.array(name_at)?));
            let Some(which) = names.iter().position(|place| *place == Some(name)) else { continue };
            let (begins, ends) = (entry(at)?, entry(add(at, 2 * half)?)?);
            let (Some(address), Some(len)) = (text.checked_add(begins), ends.checked_sub(begins)) else {
                return Ok(Err("its functions are in no order"));
            };
            if let Some(body) = bodies.get_mut(which) {
                *body = Some(Body { address, len });
            }
        }
        Ok(Ok(bodies))
    }

    /// Where in the table of names these stand.
    fn name_places(&self, elf: &Elf, wanted: &[&str]) -> Result<Vec<Option<u64>>, Fault> {
        let whole: Vec<Vec<u8>> = wanted.iter().map(|name| [b"\0", name.as_bytes(), b"\0"].concat()).collect();
        let mut places = vec![None; wanted.len()];
        elf.source.scan(self.names.clone(), 256, |from, bytes| {
            for (place, name) in places.iter_mut().zip(&whole) {
                if place.is_none() {
                    *place = find(bytes, name).map(|found| from + found as u64 + 1 - self.names.start);
                }
            }
            if places.iter().all(Option::is_some) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(places)
    }

    /// The address that entries count from: as the header has it, else as the runtime's description of the module has it, in
    /// the file itself or among what the dynamic linker is to write.
    fn text(&self, elf: &Elf) -> Result<Option<u64>, Fault> {
        if self.form == Form::Go116 {
            return Ok(Some(0));
        }
        let text = match self.text {
            0 => match self.text_in_module(elf)? {
                None => self.text_to_be_written(elf)?,
                text => text,
            },
            text => Some(text),
        };
        Ok(text.filter(|text| elf.code_offset(*text).is_some()))
    }

    fn text_in_module(&self, elf: &Elf) -> Result<Option<u64>, Fault> {
        let Some(names) = self.address.checked_add(self.names.start - self.at) else { return Ok(None) };
        let begins = [self.address, names].map(u64::to_le_bytes).concat();
        let mut module = None;
        for segment in elf.segments.iter().filter(|segment| segment.writable) {
            elf.source.scan(Segment::range(segment), 16, |from, bytes| {
                module = module.or_else(|| find(bytes, &begins).map(|place| from + place as u64));
                if module.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        }
        let Some(module) = module else { return Ok(None) };
        let text = u64_at(&elf.source.read(module.saturating_add(TEXT_IN_MODULE), 8)?, 0);
        Ok(text.filter(|text| *text != 0))
    }

    fn text_to_be_written(&self, elf: &Elf) -> Result<Option<u64>, Fault> {
        let (header, mut modules) = (self.address.checked_add(24), Vec::new());
        let mut text = None;
        relocations(elf, |place, value| {
            if Some(place) == header {
                text = Some(value);
            }
            if value == self.address && modules.len() < CANDIDATES_MAX {
                modules.push(place);
            }
        })?;
        if text.is_none() {
            relocations(elf, |place, value| {
                let module = place.checked_sub(TEXT_IN_MODULE).is_some_and(|module| modules.contains(&module));
                text = text.or(module.then_some(value));
            })?;
        }
        Ok(text)
    }
}

/// How the table begins: `pcHeader` of runtime/symtab.go.
fn form(bytes: &[u8]) -> Result<Form, Why> {
    let rest = bytes.get(4..8);
    if !matches!(rest, Some([0, 0, 1 | 2 | 4, 8])) {
        return Err("its header is not sound");
    }
    match u32_at(bytes, 0) {
        Some(0xffff_fff1 | 0xffff_fff0) => Ok(Form::Go118),
        Some(0xffff_fffa) => Ok(Form::Go116),
        Some(0xffff_fffb) => Err("it is of before Go 1.16"),
        _ => Err("it is of a form that is not known"),
    }
}

/// What the dynamic linker is to write, and where.
fn relocations(elf: &Elf, mut each: impl FnMut(u64, u64)) -> Result<(), Fault> {
    const SIZE: u64 = size_of::<Rela64<LE>>() as u64;
    const STEP: u64 = SIZE * 8192;
    for section in elf.sections.iter().filter(|section| section.kind == SHT_RELA) {
        let range = section.range();
        let mut at = range.start;
        while at < range.end {
            let len = STEP.min(range.end - at);
            let bytes = elf.source.read(at, usize::try_from(len - len % SIZE).map_err(|_| Fault::TooLarge)?)?;
            for relocation in table::<Rela64<LE>>(&bytes)? {
                each(relocation.r_offset.get(LE), relocation.r_addend.get(LE).cast_unsigned());
            }
            at += STEP;
        }
    }
    Ok(())
}
