//! What a case is.

use std::{future::Future, pin::Pin, time::Duration};

use lateen_xds::ResourceType;

use crate::{
    client::Script,
    context::{Context, Outcome},
    control::Feature,
};

/// The future a case runs as.
pub type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One rule, proved over the wire.
#[derive(Clone, Copy)]
pub struct Case {
    /// Letter of the group and number: `B3`.
    pub id: &'static str,
    /// What it claims, as a sentence.
    pub name: &'static str,
    /// Where the rule is written.
    pub clause: Clause,
    /// How binding the rule is.
    pub level: Level,
    /// The variants of the protocol in which it applies.
    pub variants: &'static [Variant],
    /// The resource types it is run with, one after the other or side by side.
    pub kinds: &'static [ResourceType],
    /// What a server must have for it to apply.
    pub needs: &'static [Feature],
    /// Words to filter by, beside the id.
    pub tags: &'static [&'static str],
    /// The time limit of one run.
    pub limit: Duration,
    /// What may run at the same time.
    pub company: Company,
    /// The case itself.
    pub run: Play,
}

/// What a case proves, and how.
#[derive(Clone, Copy, Debug)]
pub enum Play {
    /// A server: the case is its client.
    Server(fn(Context) -> Running),
    /// A client: the case is its server.
    Client(fn(Script) -> Running),
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Case {
    /// A binding rule, in all variants, with the four core types, that needs nothing.
    pub const fn new(
        id: &'static str,
        name: &'static str,
        clause: Clause,
        run: fn(Context) -> Running,
    ) -> Self {
        Self::of(id, name, clause, Play::Server(run))
    }

    /// A binding rule for clients, in all variants. It is run with one type, which its report names.
    pub const fn client(
        id: &'static str,
        name: &'static str,
        clause: Clause,
        run: fn(Script) -> Running,
    ) -> Self {
        Self::of(id, name, clause, Play::Client(run))
            .kinds(&[ResourceType::Cluster])
            .limit(Duration::from_secs(40))
    }

    const fn of(id: &'static str, name: &'static str, clause: Clause, run: Play) -> Self {
        Self {
            id,
            name,
            clause,
            level: Level::Must,
            variants: &Variant::ALL,
            kinds: &CORE,
            needs: &[],
            tags: &[],
            limit: Duration::from_secs(15),
            company: Company::Anyone,
            run,
        }
    }

    /// In these variants only.
    pub const fn variants(mut self, variants: &'static [Variant]) -> Self {
        self.variants = variants;
        self
    }

    /// With these types.
    pub const fn kinds(mut self, kinds: &'static [ResourceType]) -> Self {
        self.kinds = kinds;
        self
    }

    /// Only if the server has these.
    pub const fn needs(mut self, needs: &'static [Feature]) -> Self {
        self.needs = needs;
        self
    }

    /// To be found by these words.
    pub const fn tags(mut self, tags: &'static [&'static str]) -> Self {
        self.tags = tags;
        self
    }

    /// Recommended, not demanded.
    pub const fn should(mut self) -> Self {
        self.level = Level::Should;
        self
    }

    /// An extension.
    pub const fn extension(mut self) -> Self {
        self.level = Level::Extension;
        self
    }

    /// With a time limit of its own.
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// With other company, and a time limit of its own.
    pub const fn company(mut self, company: Company, limit: Duration) -> Self {
        self.company = company;
        self.limit = limit;
        self
    }
}

/// The four types that every server has.
pub const CORE: [ResourceType; 4] = [
    ResourceType::Cluster,
    ResourceType::Endpoints,
    ResourceType::Listener,
    ResourceType::RouteConfiguration,
];
/// Those with wildcard subscriptions and complete responses.
pub const WILD: [ResourceType; 2] = [ResourceType::Cluster, ResourceType::Listener];
/// Those that are always named, and whose responses may be partial.
pub const NAMED: [ResourceType; 2] = [ResourceType::Endpoints, ResourceType::RouteConfiguration];
/// All that behave alike in cases about subscriptions. Scoped routes and virtual hosts have cases of their own.
pub const TYPES: [ResourceType; 7] = [
    ResourceType::Cluster,
    ResourceType::Endpoints,
    ResourceType::Secret,
    ResourceType::ExtensionConfig,
    ResourceType::Listener,
    ResourceType::RouteConfiguration,
    ResourceType::Runtime,
];

/// What may run beside a case. Cases that keep the machine busy would make others run out of patience.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Company {
    /// Whatever there is.
    Anyone,
    /// One more that keeps the machine busy.
    Busy,
    /// Nothing.
    Nobody,
}

/// A section of a specification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clause {
    /// Its title.
    pub title: &'static str,
    /// Its address.
    pub url: &'static str,
}

/// How binding a rule is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// The specification demands it.
    Must,
    /// The specification recommends it, or real clients lose traffic without it.
    Should,
    /// An extension that a server may have; it is only run when the server claims it.
    Extension,
}

impl Level {
    /// For reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::Extension => "extension",
        }
    }
}

/// One of the four variants of the transport protocol.
/// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#four-variants>
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Variant {
    /// State of the world, one stream for each type.
    Sotw,
    /// State of the world, aggregated.
    SotwAds,
    /// Delta, one stream for each type.
    Delta,
    /// Delta, aggregated.
    DeltaAds,
}

impl Variant {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Sotw, Self::SotwAds, Self::Delta, Self::DeltaAds];
    /// Both of state of the world.
    pub const SOTW: [Self; 2] = [Self::Sotw, Self::SotwAds];
    /// Both of delta.
    pub const DELTA: [Self; 2] = [Self::Delta, Self::DeltaAds];
    /// Both that are aggregated.
    pub const ADS: [Self; 2] = [Self::SotwAds, Self::DeltaAds];

    /// Is it delta?
    pub const fn is_delta(self) -> bool {
        matches!(self, Self::Delta | Self::DeltaAds)
    }

    /// Is it aggregated?
    pub const fn is_ads(self) -> bool {
        matches!(self, Self::SotwAds | Self::DeltaAds)
    }

    /// For reports and filters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sotw => "sotw",
            Self::SotwAds => "sotw-ads",
            Self::Delta => "delta",
            Self::DeltaAds => "delta-ads",
        }
    }

    /// What a server must have to be asked in it.
    pub const fn needs(self) -> [Feature; 2] {
        match self {
            Self::Sotw => [Feature::Sotw, Feature::Separate],
            Self::SotwAds => [Feature::Sotw, Feature::Ads],
            Self::Delta => [Feature::Delta, Feature::Separate],
            Self::DeltaAds => [Feature::Delta, Feature::Ads],
        }
    }
}

/// What a server must have to be asked for a type; the four core types need nothing.
pub const fn kind_needs(kind: ResourceType) -> Option<Feature> {
    match kind {
        ResourceType::Cluster
        | ResourceType::Endpoints
        | ResourceType::Listener
        | ResourceType::RouteConfiguration => None,
        ResourceType::Secret => Some(Feature::Sds),
        ResourceType::ExtensionConfig => Some(Feature::Ecds),
        ResourceType::ScopedRoute => Some(Feature::Srds),
        ResourceType::VirtualHost => Some(Feature::Vhds),
        ResourceType::Runtime => Some(Feature::Rtds),
    }
}

/// One run of a case: in one variant, with one type.
#[derive(Clone, Copy, Debug)]
pub struct Instance {
    /// The case.
    pub case: &'static Case,
    /// In which variant.
    pub variant: Variant,
    /// With which type.
    pub kind: ResourceType,
}

impl Instance {
    /// Every run of a case.
    pub fn of(case: &'static Case) -> impl Iterator<Item = Self> {
        case.variants.iter().flat_map(move |&variant| {
            case.kinds
                .iter()
                // There is no state of the world for virtual hosts.
                .filter(move |kind| variant.is_delta() || kind.info().stream.is_some())
                .map(move |&kind| Self { case, variant, kind })
        })
    }

    /// `B3/delta-ads/EDS`.
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.case.id, self.variant.name(), self.kind.info().short)
    }

    /// Everything a server must have for it.
    pub fn needs(&self) -> impl Iterator<Item = Feature> {
        self.variant.needs().into_iter().chain(kind_needs(self.kind)).chain(self.case.needs.iter().copied())
    }
}
