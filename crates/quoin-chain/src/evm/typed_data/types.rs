//! The types of typed data: names, members and their graph.
//!
//! Member and type names enter the hash as bare text, so a name that holds a comma or a space
//! could make one type read as another; only identifiers pass. Recursive types are refused, and
//! so are types that blow up when expanded. Source: EIP-712, "Definition of `encodeType`".

use super::{at, fields};
use crate::shown::shown;
use quoin_core::Rejection;
use serde_json::Value;
use std::collections::BTreeMap;

/// The path of the types object.
pub(super) const PATH: &str = "typed_data.types";

/// The most types.
const TYPES_MAX: usize = 64;
/// The most members of one type.
const MEMBERS_MAX: usize = 64;
/// The longest name of a type or member, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The most bytes of all names and types together: each struct value hashes its type's text anew.
const TEXT_BYTES_MAX: usize = 8192;
/// The most array dimensions of a member.
const DIMENSIONS_MAX: usize = 4;
/// The deepest nesting of types.
const DEPTH_MAX: usize = 16;
/// The most members once every type is expanded in place.
const EXPANDED_MAX: usize = 512;

/// A type of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemberType {
    /// The type without its array suffixes.
    pub(super) root: Root,
    /// The array suffixes from left to right; `None` is a dynamic one.
    pub(super) dimensions: Vec<Option<usize>>,
}

/// A type that is no array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Bool,
    Address,
    String,
    Bytes,
    /// 1 to 32 bytes.
    FixedBytes(usize),
    /// 8 to 256 bits.
    Uint(usize),
    /// 8 to 256 bits.
    Int(usize),
    Struct(String),
}

/// A member of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) type_text: String,
    pub(super) member_type: MemberType,
}

/// All types of one document: well-formed, complete and free of cycles.
pub(super) struct Types(BTreeMap<String, Vec<Member>>);

impl Types {
    pub(super) fn parse(value: &Value) -> Result<Self, Rejection> {
        let object = value
            .as_object()
            .ok_or_else(|| Rejection::caller(PATH, "expected an object"))?;
        if object.len() > TYPES_MAX {
            return Err(Rejection::caller(PATH, format!("over `{TYPES_MAX}` types")));
        }
        let mut types = BTreeMap::new();
        for (name, members) in object {
            let path = at(PATH, name);
            // Venues such as Hyperliquid put a colon into the names of their types.
            let identifier = name.split(':').all(is_identifier);
            if !identifier || name.len() > NAME_BYTES_MAX || Root::basic(name).is_some() {
                return Err(Rejection::caller(path, "not a name for a type"));
            }
            types.insert(name.clone(), members_of(members, &path)?);
        }
        let types = Self(types);
        types.check_text()?;
        types.check_graph()?;
        Ok(types)
    }

    pub(super) fn members(&self, name: &str) -> Option<&[Member]> {
        self.0.get(name).map(Vec::as_slice)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Vec<Member>)> {
        self.0.iter()
    }

    fn check_text(&self) -> Result<(), Rejection> {
        let members = self.0.values().flatten();
        let text = members.fold(0usize, |sum, m| {
            sum.saturating_add(m.name.len())
                .saturating_add(m.type_text.len())
        });
        if text <= TEXT_BYTES_MAX {
            return Ok(());
        }
        Err(Rejection::caller(
            PATH,
            format!("names and types have over `{TEXT_BYTES_MAX}` bytes"),
        ))
    }

    fn check_graph(&self) -> Result<(), Rejection> {
        let mut sizes = BTreeMap::new();
        for name in self.0.keys() {
            self.expanded(name, 0, &mut sizes)?;
        }
        Ok(())
    }

    /// How many members `name` has once expanded. `sizes` holds finished types, and `None` for
    /// those under way, to meet one of which again is a cycle.
    fn expanded<'a>(
        &'a self,
        name: &'a str,
        depth: usize,
        sizes: &mut BTreeMap<&'a str, Option<Expanded>>,
    ) -> Result<Expanded, Rejection> {
        match sizes.get(name) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Err(Rejection::caller(at(PATH, name), "type holds itself")),
            None => {}
        }
        if depth > DEPTH_MAX {
            return Err(too_deep(name));
        }
        sizes.insert(name, None);
        let mut total = Expanded {
            members: 0,
            depth: 1,
        };
        for (index, member) in self.0.get(name).into_iter().flatten().enumerate() {
            total.members = total.members.saturating_add(1);
            let Root::Struct(inner) = &member.member_type.root else {
                continue;
            };
            if !self.0.contains_key(inner) {
                return Err(Rejection::caller(
                    format!("{}[{index}].type", at(PATH, name)),
                    format!("unknown type `{}`", shown(inner)),
                ));
            }
            let inner = self.expanded(inner, depth.saturating_add(1), sizes)?;
            total.members = total.members.saturating_add(inner.members);
            total.depth = total.depth.max(inner.depth.saturating_add(1));
        }
        if total.depth > DEPTH_MAX {
            return Err(too_deep(name));
        }
        if total.members > EXPANDED_MAX {
            return Err(Rejection::caller(
                at(PATH, name),
                format!("type has over `{EXPANDED_MAX}` members once expanded"),
            ));
        }
        sizes.insert(name, Some(total));
        Ok(total)
    }
}

/// A type's size once every inner type is expanded in place.
#[derive(Clone, Copy)]
struct Expanded {
    members: usize,
    depth: usize,
}

fn too_deep(name: &str) -> Rejection {
    Rejection::caller(
        at(PATH, name),
        format!("types are nested over `{DEPTH_MAX}` deep"),
    )
}

fn members_of(value: &Value, path: &str) -> Result<Vec<Member>, Rejection> {
    let list = value
        .as_array()
        .ok_or_else(|| Rejection::caller(path.to_owned(), "expected an array of members"))?;
    if list.len() > MEMBERS_MAX {
        return Err(Rejection::caller(
            path.to_owned(),
            format!("over `{MEMBERS_MAX}` members"),
        ));
    }
    let mut members: Vec<Member> = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let member = member(value, &path)?;
        if members.iter().any(|m| m.name == member.name) {
            return Err(Rejection::caller(
                format!("{path}.name"),
                "member appears twice",
            ));
        }
        members.push(member);
    }
    Ok(members)
}

fn member(value: &Value, path: &str) -> Result<Member, Rejection> {
    let [name, type_text] = fields(value, path, ["name", "type"])?;
    let name = name
        .as_str()
        .filter(|name| is_identifier(name) && name.len() <= NAME_BYTES_MAX)
        .ok_or_else(|| Rejection::caller(format!("{path}.name"), "not a name for a member"))?;
    let type_path = || format!("{path}.type");
    let type_text = type_text
        .as_str()
        .ok_or_else(|| Rejection::caller(type_path(), "expected the name of a type"))?;
    let member_type = MemberType::parse(type_text).ok_or_else(|| {
        Rejection::caller(
            type_path(),
            format!(
                "not a type: `{}` (sizes are written out, as in `uint256`)",
                shown(type_text)
            ),
        )
    })?;
    Ok(Member {
        name: name.to_owned(),
        type_text: type_text.to_owned(),
        member_type,
    })
}

impl MemberType {
    fn parse(text: &str) -> Option<Self> {
        let split = text.find('[').unwrap_or(text.len());
        let (root, mut suffixes) = text.split_at_checked(split)?;
        let mut dimensions = Vec::new();
        while !suffixes.is_empty() {
            let (size, rest) = suffixes.strip_prefix('[')?.split_once(']')?;
            dimensions.push(match size {
                "" => None,
                size => Some(canonical_number(size).filter(|n| *n > 0)?),
            });
            suffixes = rest;
        }
        if dimensions.len() > DIMENSIONS_MAX {
            return None;
        }
        let root = match Root::basic(root) {
            Some(Basic::Type(root)) => root,
            Some(Basic::Reserved) => return None,
            None => {
                let name = root.split(':').all(is_identifier) && root.len() <= NAME_BYTES_MAX;
                name.then(|| Root::Struct(root.to_owned()))?
            }
        };
        Some(Self { root, dimensions })
    }
}

/// What Solidity gives a name to.
enum Basic {
    Type(Root),
    /// An alias, or a type that EIP-712 does not have: readers disagree on its hash.
    Reserved,
}

impl Root {
    /// Reads a type of Solidity's own; `None` when the name is free for a struct.
    fn basic(text: &str) -> Option<Basic> {
        let known = match text {
            "bool" => Self::Bool,
            "address" => Self::Address,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "uint" | "int" | "byte" | "function" | "fixed" | "ufixed" | "tuple" => {
                return Some(Basic::Reserved);
            }
            _ => return Self::sized(text),
        };
        Some(Basic::Type(known))
    }

    /// Reads a type with a size, such as `uint256`.
    fn sized(text: &str) -> Option<Basic> {
        let stem = text.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = text.get(stem.len()..).filter(|digits| !digits.is_empty())?;
        let size = canonical_number(digits);
        let bits = size.filter(|n| n % 8 == 0 && (8..=256).contains(n));
        let root = match stem {
            "uint" => bits.map(Self::Uint),
            "int" => bits.map(Self::Int),
            "bytes" => size.filter(|n| (1..=32).contains(n)).map(Self::FixedBytes),
            _ => return None,
        };
        Some(root.map_or(Basic::Reserved, Basic::Type))
    }
}

/// A number without sign or leading zero.
fn canonical_number(digits: &str) -> Option<usize> {
    let number: usize = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// A name as Solidity and every encoder read it.
fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'$'))
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'))
}
