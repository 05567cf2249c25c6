//! Route configurations as aggregates of virtual hosts.
//!
//! Each virtual host is compiled and encoded on its own. The route configuration keeps them in a persistent map:
//! exchanging one costs O(log n), a version of the whole is a snapshot of the map and a hash that is kept up to
//! date element by element, and the bytes are put together when somebody first sends them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use lateen_model::{Origin, Version, hash::SetHash};
use lateen_proto::{envoy::config::route::v3::VirtualHost, google::protobuf::Any, pgv};
use lateen_xds::{
    Body, NameId, Resource, ResourceRef, ResourceType,
    resource::{Parts, RefSet, Refs},
};
use prost::{
    Message,
    encoding::{decode_key, decode_varint},
};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use crate::{
    engine::MemoId,
    translate::{self, Compiled, Shell},
};

/// One virtual host, encoded, or one filter chain.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Piece {
    /// The message, as an element of the field that it is of: 2 of `RouteConfiguration`, 3 of `Listener`.
    pub(crate) wrapped: Bytes,
    /// Length of tag and length before the message.
    head: usize,
    pub(crate) version: Version,
    pub(crate) refs: Arc<[ResourceRef]>,
    pub(crate) origins: Arc<[Origin]>,
}

impl Piece {
    pub(crate) fn new(compiled: &Compiled) -> Self {
        let mut wrapped = BytesMut::with_capacity(compiled.bytes.len() + 6);
        prost::encoding::encode_key(2, prost::encoding::WireType::LengthDelimited, &mut wrapped);
        prost::encoding::encode_varint(compiled.bytes.len() as u64, &mut wrapped);
        let head = wrapped.len();
        wrapped.extend_from_slice(&compiled.bytes);
        Self {
            wrapped: wrapped.freeze(),
            head,
            version: Version::of(&compiled.bytes),
            refs: compiled.refs.clone().into(),
            origins: compiled.origins.clone().into(),
        }
    }

    /// A virtual host with the same names that answers 503 to everything. `None` if its names are not what Envoy takes.
    pub(crate) fn closed(&self) -> Option<Self> {
        let message = VirtualHost::decode(self.wrapped.get(self.head..)?).ok()?;
        let closed = translate::closed_host(message);
        let compiled = Compiled {
            bytes: closed.encode_to_vec().into(),
            origins: self.origins.to_vec(),
            ..Compiled::default()
        };
        let value = compiled.bytes.clone();
        let any = Any { type_url: ResourceType::VirtualHost.info().url.to_owned(), value };
        pgv::check(&any).is_empty().then(|| Self::new(&compiled))
    }

    /// A part of an encoded resource, with tag and length, of which `head` bytes are these.
    pub(crate) fn part(wrapped: Bytes, head: usize) -> Self {
        let version = Version::of(&wrapped);
        Self { wrapped, head, version, refs: Arc::from([]), origins: Arc::from([]) }
    }

    /// A part of a resource of this type from its bytes, tag and length included. `None` if they are none.
    pub(crate) fn restored(kind: ResourceType, wrapped: Bytes, refs: Arc<[ResourceRef]>) -> Option<Self> {
        let mut rest = wrapped.clone();
        decode_key(&mut rest).ok()?;
        let length = decode_varint(&mut rest).ok()?;
        if usize::try_from(length) != Ok(rest.len()) {
            return None;
        }
        let head = wrapped.len() - rest.len();
        let part = Self { refs, ..Self::part(wrapped, head) };
        // As it was made: [`Piece::new`].
        let version = if kind == ResourceType::Listener { part.version } else { Version::of(&rest) };
        Some(Self { version, ..part })
    }

    /// The virtual host as a resource of its own (VHDS). Envoy finds it by `VirtualHost.name`, which must be the
    /// resource's name; of a field that is there twice the last one counts.
    /// <https://protobuf.dev/programming-guides/encoding/#last-one-wins>
    pub(crate) fn as_resource(&self, name: NameId, text: &str) -> Resource {
        let mut body = BytesMut::from(self.wrapped.get(self.head..).unwrap_or_default());
        prost::encoding::string::encode(1, &text.to_owned(), &mut body);
        let body = body.freeze();
        Resource {
            kind: ResourceType::VirtualHost,
            name,
            version: Version::of(&body),
            body: Body::Whole(body),
            refs: Refs::List(self.refs.clone()),
            origins: self.origins.clone(),
        }
    }
}

/// A virtual host of a table's route configuration.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) memo: MemoId,
    pub(crate) holders: u32,
    /// Its name as a resource of its own, where virtual hosts are delivered one by one.
    pub(crate) resource: Option<NameId>,
}

/// Virtual hosts put together: a persistent map, with what is known of the whole kept up to date one by one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aggregate {
    pieces: RedBlackTreeMapSync<Arc<str>, Arc<Piece>>,
    hash: SetHash,
    len: usize,
    refs: HashTrieMapSync<ResourceRef, u32>,
    /// Of the keys of `refs`.
    named: SetHash,
}

impl Aggregate {
    /// Exchanges a virtual host, `None` takes it out; returns the one before.
    pub(crate) fn set(&mut self, name: &Arc<str>, piece: Option<Arc<Piece>>) -> Option<Arc<Piece>> {
        let before = self.pieces.get(name).cloned();
        if let Some(old) = &before {
            self.hash.remove(name.as_bytes(), old.version);
            self.len -= old.wrapped.len();
            for target in old.refs.iter() {
                match self.refs.get(target).copied() {
                    Some(count) if count > 1 => {
                        self.refs.insert_mut(*target, count - 1);
                    }
                    _ => {
                        if self.refs.remove_mut(target) {
                            target.remove_from(&mut self.named);
                        }
                    }
                }
            }
            self.pieces.remove_mut(name);
        }
        if let Some(piece) = piece {
            self.hash.add(name.as_bytes(), piece.version);
            self.len += piece.wrapped.len();
            for target in piece.refs.iter() {
                let count = self.refs.get(target).copied().unwrap_or(0);
                if count == 0 {
                    target.add_to(&mut self.named);
                }
                self.refs.insert_mut(*target, count + 1);
            }
            self.pieces.insert_mut(name.clone(), piece);
        }
        before
    }

    /// The virtual host of this name.
    pub(crate) fn piece(&self, name: &str) -> Option<&Arc<Piece>> {
        self.pieces.get(name)
    }

    /// All virtual hosts, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Piece>)> {
        self.pieces.iter()
    }

    /// The route configuration that they make with `shell`.
    pub(crate) fn resource(&self, name: NameId, shell: &Arc<Shell>, origins: Arc<[Origin]>) -> Resource {
        // Hosts that are delivered one by one are no part of it.
        let mut hash = if shell.vhds { SetHash::default() } else { self.hash };
        hash.add(&shell.before, Version::of(&shell.after));
        hash.add(b"vhds", Version(u64::from(shell.vhds)));
        let (hosts, refs) = if shell.vhds {
            // Said also where there are no hosts: `lateen_xds::View::hosts_of`.
            let own = ResourceRef { kind: ResourceType::VirtualHost, name };
            let refs = shell.refs.iter().copied().chain([own]).collect();
            (Self::default(), Refs::list(refs))
        } else {
            let refs = RouteRefs { hosts: self.refs.clone(), named: self.named, shell: shell.clone() };
            (self.clone(), Refs::Set(Arc::new(refs)))
        };
        Resource {
            kind: ResourceType::RouteConfiguration,
            name,
            version: hash.version(),
            body: Body::rope(Box::new(RouteParts { shell: shell.clone(), hosts })),
            refs,
            origins,
        }
    }
}

/// A route configuration of a table.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    pub(crate) text: Arc<str>,
    /// Does it exist even without a virtual host?
    pub(crate) pinned: bool,
    pub(crate) shell_memo: Option<MemoId>,
    pub(crate) shell: Option<Arc<Shell>>,
    pub(crate) hosts: HashMap<Arc<str>, Host>,
    all: Aggregate,
    /// Virtual hosts that have changed since the whole was last accepted.
    unaccepted: BTreeSet<Arc<str>>,
    /// The objects behind what changed since the last version.
    changed: Vec<Origin>,
}

impl RouteTable {
    pub(crate) fn new(text: Arc<str>, shell_memo: Option<MemoId>, shell: Option<Arc<Shell>>) -> Self {
        Self { text, shell_memo, shell, ..Self::default() }
    }

    pub(crate) fn is_needed(&self) -> bool {
        self.pinned || !self.hosts.is_empty()
    }

    pub(crate) fn vhds(&self) -> bool {
        self.shell.as_ref().is_some_and(|shell| shell.vhds)
    }

    /// Exchanges a virtual host; `None` takes it out.
    pub(crate) fn set(&mut self, name: &Arc<str>, piece: Option<Arc<Piece>>) {
        self.unaccepted.insert(name.clone());
        let now = piece.clone();
        let before = self.all.set(name, piece);
        // Of one that is exchanged the new origins count: the old ones may be of lines that moved.
        let to_blame = now.as_ref().or(before.as_ref());
        self.changed.extend(to_blame.iter().flat_map(|piece| piece.origins.iter().cloned()));
    }

    pub(crate) fn piece(&self, name: &str) -> Option<&Arc<Piece>> {
        self.all.piece(name)
    }

    /// The virtual hosts that are accepted with the whole and were not before.
    pub(crate) fn take_unaccepted(&mut self) -> Vec<(Arc<str>, Version)> {
        let names = std::mem::take(&mut self.unaccepted).into_iter();
        names
            .filter_map(|name| Some((self.all.piece(&name)?.version, name)))
            .map(|(v, name)| (name, v))
            .collect()
    }

    /// All objects behind it.
    pub(crate) fn origins(&self) -> Vec<Origin> {
        let shell = self.shell.iter().flat_map(|shell| shell.origins.iter().cloned());
        let mut all: Vec<Origin> =
            self.all.iter().flat_map(|(_, piece)| piece.origins.iter().cloned()).chain(shell).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The resource as it stands, and whole.
    pub(crate) fn whole(&self, name: NameId) -> Option<Resource> {
        let shell = self.shell.as_ref()?;
        Some(self.all.resource(name, shell, shell.origins.clone().into()))
    }

    /// The resource as it stands. Its origins are the objects behind what changed since the last one: these are
    /// to blame when a client rejects it.
    pub(crate) fn resource(&mut self, name: NameId) -> Option<Resource> {
        let shell = self.shell.clone()?;
        let mut origins = std::mem::take(&mut self.changed);
        if origins.is_empty() {
            origins.clone_from(&shell.origins);
        }
        origins.sort();
        origins.dedup();
        Some(self.all.resource(name, &shell, origins.into()))
    }
}

/// Snapshot of a route configuration.
pub(crate) struct RouteParts {
    pub(crate) shell: Arc<Shell>,
    pub(crate) hosts: Aggregate,
}

impl Parts for RouteParts {
    fn len(&self) -> usize {
        self.shell.before.len() + self.hosts.len + self.shell.after.len()
    }

    fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.shell.before);
        self.hosts.iter().for_each(|(_, piece)| out.extend_from_slice(&piece.wrapped));
        out.extend_from_slice(&self.shell.after);
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// What a snapshot names.
struct RouteRefs {
    hosts: HashTrieMapSync<ResourceRef, u32>,
    named: SetHash,
    shell: Arc<Shell>,
}

impl RefSet for RouteRefs {
    fn contains(&self, target: ResourceRef) -> bool {
        self.hosts.contains_key(&target) || self.shell.refs.contains(&target)
    }

    fn visit(&self, visit: &mut dyn FnMut(ResourceRef)) {
        self.hosts.keys().copied().for_each(&mut *visit);
        self.shell.refs.iter().copied().filter(|target| !self.hosts.contains_key(target)).for_each(visit);
    }

    fn digest(&self) -> SetHash {
        let mut digest = self.named;
        for target in self.shell.refs.iter().filter(|target| !self.hosts.contains_key(target)) {
            target.add_to(&mut digest);
        }
        digest
    }
}
