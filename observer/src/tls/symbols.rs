//! Functions by their names, in tables of any size: the names are looked for first, then the symbols that refer to them.

use memchr::memmem::Finder;
use object::LittleEndian as LE;
use object::elf::{SHN_UNDEF, SHT_SYMTAB, STT_FUNC, Sym64};
use rustc_hash::FxHashMap;
use std::ops::ControlFlow;

use super::Fault;
use super::elf::{Elf, SymbolTable, table};

/// Bytes of a name that is looked at; mangled names of generic functions are long.
const NAME_MAX: usize = 2048;
/// Places of one table that are looked at: 3,000 in a Node that has OpenSSL in it.
const PLACES_MAX: u32 = 1 << 16;
/// Names that are kept of one table.
const NAMES_MAX: usize = 1 << 14;
/// Functions that are kept of one file.
const FUNCTIONS_MAX: usize = 1 << 10;

/// A function that the file itself contains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) address: u64,
    /// Bytes; zero where the table does not tell.
    pub(super) len: u64,
}

/// What the tables of symbols hold.
#[derive(Default)]
pub(super) struct Symbols {
    /// In the order of names, each once.
    pub(super) functions: Vec<Function>,
    /// The names that no function goes by: imports, versions.
    pub(super) names: Vec<String>,
    /// There are no symbols but those for the dynamic linker.
    pub(super) stripped: bool,
}

/// The names with one of these texts in them, of which `wanted` is true.
pub(super) fn read(elf: &Elf, texts: &[&str], wanted: impl Fn(&str) -> bool) -> Result<Symbols, Fault> {
    let stripped = !elf.sections.iter().any(|section| section.kind == SHT_SYMTAB);
    let mut found = Symbols { stripped, ..Symbols::default() };
    for symbols in elf.symbol_tables()? {
        let names = names(elf, &symbols, texts, &wanted)?;
        functions(elf, &symbols, &names, &mut found.functions)?;
        found.names.extend(names.into_values());
    }
    let Symbols { functions, names, .. } = &mut found;
    functions.sort();
    functions.dedup_by(|one, other| (&one.name, one.address) == (&other.name, other.address));
    names.sort();
    names.dedup();
    names.retain(|name| functions.binary_search_by(|function| function.name.cmp(name)).is_err());
    Ok(found)
}

/// Names by their places in the table of names. A name may be the end of another one: linkers share them.
fn names(
    elf: &Elf,
    symbols: &SymbolTable,
    texts: &[&str],
    wanted: impl Fn(&str) -> bool,
) -> Result<FxHashMap<u32, String>, Fault> {
    let finders: Vec<Finder> = texts.iter().map(Finder::new).collect();
    let mut names = FxHashMap::default();
    let (mut too_many, mut places) = (false, 0);
    elf.source.scan(symbols.names.clone(), 2 * NAME_MAX, |at, bytes| {
        for place in finders.iter().flat_map(|finder| finder.find_iter(bytes)) {
            places += 1;
            too_many |= places > PLACES_MAX;
            if too_many {
                break;
            }
            let before = &bytes[place.saturating_sub(NAME_MAX)..place];
            let begin = memchr::memrchr(0, before).map_or(place - before.len(), |end| place - before.len() + end + 1);
            let rest = &bytes[place..bytes.len().min(place + NAME_MAX)];
            let Some(len) = memchr::memchr(0, rest) else { continue };
            for from in [begin, place] {
                let Ok(name) = std::str::from_utf8(&bytes[from..place + len]) else { continue };
                let Ok(key) = u32::try_from(at + from as u64 - symbols.names.start) else { continue };
                if wanted(name) {
                    too_many |= names.len() >= NAMES_MAX;
                    if !too_many {
                        names.insert(key, name.to_owned());
                    }
                }
            }
        }
        if too_many { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if too_many { Err(Fault::TooLarge) } else { Ok(names) }
}

fn functions(
    elf: &Elf,
    symbols: &SymbolTable,
    names: &FxHashMap<u32, String>,
    functions: &mut Vec<Function>,
) -> Result<(), Fault> {
    /// A multiple of the size of a symbol.
    const STEP: u64 = 24 * 8192;
    if names.is_empty() {
        return Ok(());
    }
    let mut at = symbols.entries.start;
    while at < symbols.entries.end {
        let len = STEP.min(symbols.entries.end - at);
        let bytes = elf.source.read(at, usize::try_from(len - len % 24).map_err(|_| Fault::TooLarge)?)?;
        for symbol in table::<Sym64<LE>>(&bytes)? {
            let Some(name) = names.get(&symbol.st_name.get(LE)) else { continue };
            if symbol.st_info & 0xf == STT_FUNC && symbol.st_shndx.get(LE) != SHN_UNDEF {
                if functions.len() == FUNCTIONS_MAX {
                    return Err(Fault::TooLarge);
                }
                let (address, len) = (symbol.st_value.get(LE), symbol.st_size.get(LE));
                functions.push(Function { name: name.clone(), address, len });
            }
        }
        at += STEP;
    }
    Ok(())
}
