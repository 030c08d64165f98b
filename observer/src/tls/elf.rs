//! The headers of an ELF file: where its addresses lie in it, its sections, its tables of symbols.

use object::LittleEndian as LE;
use object::elf::{
    DT_STRSZ, DT_STRTAB, DT_SYMTAB, Dyn64, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_AARCH64, EM_X86_64, FileHeader64, PF_W,
    PF_X, PT_DYNAMIC, PT_LOAD, ProgramHeader64, SHN_XINDEX, SHT_DYNSYM, SHT_NOBITS, SHT_SYMTAB, SectionHeader64,
};
use object::pod::{Pod, slice_from_all_bytes};
use std::ops::Range;

use super::source::Source;
use super::{Fault, Machine};

/// Headers of a file: programs have some dozens.
const HEADERS_MAX: usize = 1 << 16;
/// Bytes of the names of the sections.
const SECTION_NAMES_MAX: u64 = 4 << 20;
/// Bytes of one that are kept: no section that matters has a longer name.
const SECTION_NAME_MAX: usize = 64;

/// An ELF file of 64 bits.
pub(super) struct Elf<'f> {
    pub(super) source: Source<'f>,
    pub(super) machine: Machine,
    pub(super) segments: Vec<Segment>,
    pub(super) sections: Vec<Section>,
    dynamic: Option<Range<u64>>,
}

/// What is loaded from the file into memory.
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) offset: u64,
    /// Bytes in the file.
    pub(super) len: u64,
    pub(super) executable: bool,
    pub(super) writable: bool,
}

/// A section that has bytes in the file.
pub(super) struct Section {
    index: usize,
    pub(super) name: Vec<u8>,
    pub(super) kind: u32,
    pub(super) offset: u64,
    pub(super) len: u64,
    link: u32,
}

/// A table of symbols and the names that it refers to, as ranges of the file.
pub(super) struct SymbolTable {
    pub(super) entries: Range<u64>,
    pub(super) names: Range<u64>,
}

impl Section {
    /// Its bytes as a range of the file.
    pub(super) fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.len)
    }
}

impl Segment {
    fn offset_of(&self, address: u64) -> Option<u64> {
        let within = address.checked_sub(self.address)?;
        if within < self.len { self.offset.checked_add(within) } else { None }
    }

    /// Its bytes as a range of the file.
    pub(super) fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.len)
    }
}

impl<'f> Elf<'f> {
    /// Reads the headers.
    pub(super) fn new(source: Source<'f>) -> Result<Self, Fault> {
        let bytes = source.read(0, size_of::<FileHeader64<LE>>()).map_err(|_| Fault::NotElf)?;
        let [header] = table::<FileHeader64<LE>>(&bytes)? else { return Err(Fault::NotElf) };
        if header.e_ident.magic != ELFMAG {
            return Err(Fault::NotElf);
        }
        let machine = match header.e_machine.get(LE) {
            EM_X86_64 => Machine::X86_64,
            EM_AARCH64 => Machine::Aarch64,
            _ => return Err(Fault::Foreign),
        };
        if header.e_ident.class != ELFCLASS64 || header.e_ident.data != ELFDATA2LSB {
            return Err(Fault::Foreign);
        }
        let (count, at) = (usize::from(header.e_phnum.get(LE)), header.e_phoff.get(LE));
        let bytes = source.read(at, count * size_of::<ProgramHeader64<LE>>())?;
        let headers = table::<ProgramHeader64<LE>>(&bytes)?;
        let of_kind = |kind| headers.iter().filter(move |header| header.p_type.get(LE) == kind);
        let segments = of_kind(PT_LOAD).map(|header| Segment {
            address: header.p_vaddr.get(LE),
            offset: header.p_offset.get(LE),
            len: header.p_filesz.get(LE),
            executable: header.p_flags.get(LE) & PF_X != 0,
            writable: header.p_flags.get(LE) & PF_W != 0,
        });
        let segments = segments.collect();
        let range = |header: &ProgramHeader64<LE>| {
            let offset = header.p_offset.get(LE);
            offset..offset.saturating_add(header.p_filesz.get(LE))
        };
        let dynamic = of_kind(PT_DYNAMIC).next().map(range);
        let sections = sections(&source, header)?;
        Ok(Self { source, machine, segments, sections, dynamic })
    }

    /// Where in the file the byte at an address is.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| segment.offset_of(address))
    }

    /// The same where there is code.
    pub(super) fn code_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().filter(|segment| segment.executable).find_map(|segment| segment.offset_of(address))
    }

    /// The address of a place in the file.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let within = offset.checked_sub(segment.offset)?;
            (within < segment.len).then(|| segment.address.checked_add(within)).flatten()
        })
    }

    /// The section of this name.
    pub(super) fn section(&self, name: &[u8]) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The tables of symbols. Files whose section headers were cut off still have that of the dynamic linker.
    pub(super) fn symbol_tables(&self) -> Result<Vec<SymbolTable>, Fault> {
        let tables = self.sections.iter().filter(|section| matches!(section.kind, SHT_SYMTAB | SHT_DYNSYM));
        let tables = tables.filter_map(|section| {
            let names = self.sections.binary_search_by_key(&(section.link as usize), |names| names.index).ok()?;
            let names = self.sections.get(names)?;
            Some(SymbolTable { entries: section.range(), names: names.range() })
        });
        let tables: Vec<_> = tables.take(2).collect();
        if tables.is_empty() { Ok(self.dynamic_symbols()?.into_iter().collect()) } else { Ok(tables) }
    }

    /// How many symbols there are is told nowhere else than in hash tables; linkers put the names right behind them.
    fn dynamic_symbols(&self) -> Result<Option<SymbolTable>, Fault> {
        let Some(range) = &self.dynamic else { return Ok(None) };
        let len = usize::try_from(range.end - range.start).map_err(|_| Fault::TooLarge)?;
        let bytes = self.source.read(range.start, len - len % size_of::<Dyn64<LE>>())?;
        let entries = table::<Dyn64<LE>>(&bytes)?;
        let value = |tag: i64| entries.iter().find(|entry| entry.d_tag.get(LE) == tag).map(|entry| entry.d_val.get(LE));
        let (Some(symbols), Some(names), Some(len)) = (value(DT_SYMTAB), value(DT_STRTAB), value(DT_STRSZ)) else {
            return Ok(None);
        };
        let (Some(symbols), Some(names)) = (self.offset(symbols), self.offset(names)) else { return Ok(None) };
        Ok((symbols < names).then(|| SymbolTable { entries: symbols..names, names: names..names.saturating_add(len) }))
    }
}

fn sections(source: &Source, header: &FileHeader64<LE>) -> Result<Vec<Section>, Fault> {
    let at = header.e_shoff.get(LE);
    if at == 0 {
        return Ok(Vec::new());
    }
    let size = size_of::<SectionHeader64<LE>>();
    let (mut count, mut names) = (usize::from(header.e_shnum.get(LE)), u32::from(header.e_shstrndx.get(LE)));
    // Where a number does not fit, it stands in the first section (System V ABI, "ELF Header").
    if count == 0 || names == u32::from(SHN_XINDEX) {
        let bytes = source.read(at, size)?;
        let [first] = table::<SectionHeader64<LE>>(&bytes)? else { return Ok(Vec::new()) };
        if count == 0 {
            count = usize::try_from(first.sh_size.get(LE)).map_err(|_| Fault::TooLarge)?;
        }
        if names == u32::from(SHN_XINDEX) {
            names = first.sh_link.get(LE);
        }
    }
    if count > HEADERS_MAX {
        return Err(Fault::TooLarge);
    }
    let bytes = source.read(at, count * size)?;
    let headers = table::<SectionHeader64<LE>>(&bytes)?;
    let names = match headers.get(names as usize) {
        Some(names) if names.sh_size.get(LE) > SECTION_NAMES_MAX => return Err(Fault::TooLarge),
        Some(names) => source.read(names.sh_offset.get(LE), usize::try_from(names.sh_size.get(LE)).unwrap_or(0))?,
        None => Vec::new(),
    };
    let name = |at: u32| {
        let rest = names.get(at as usize..).unwrap_or_default();
        let rest = &rest[..rest.len().min(SECTION_NAME_MAX)];
        rest.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
    };
    let with_bytes = headers.iter().enumerate().filter(|(_, header)| header.sh_type.get(LE) != SHT_NOBITS);
    Ok(with_bytes
        .map(|(index, header)| Section {
            index,
            name: name(header.sh_name.get(LE)),
            kind: header.sh_type.get(LE),
            offset: header.sh_offset.get(LE),
            len: header.sh_size.get(LE),
            link: header.sh_link.get(LE),
        })
        .collect())
}

/// Bytes as entries of a table.
pub(super) fn table<T: Pod>(bytes: &[u8]) -> Result<&[T], Fault> {
    slice_from_all_bytes(bytes).map_err(|()| Fault::Malformed("a table of odd size"))
}
