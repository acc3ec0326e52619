//! The three rounds of a ceremony, whatever its kind.
//!
//! Source: the construction's sections 19.1 to 19.3 with the amendments 5, 7 and 8 of section 21.
//! Each state holds exactly the secrets that the next step needs: the polynomial dies when the
//! dealings are sealed, the ceremony keys and the dealings die when the echo is signed or the
//! ceremony aborts.

use super::complaint::{Complaint, Evidence};
use super::context::{Context, Heard, View, round1_hash};
use super::dealer::{
    Dealer, Dealing, check_possession, commitment, open_dealing, read_coefficients, seal_dealing,
};
use super::echo::Echoing;
use super::group::Group;
use super::guard::Guard;
use super::outcome::{public_record, transcript};
use super::plan::{Lineage, Plan};
use super::polynomial::Polynomial;
use super::seal;
use super::wire::{BODY_BYTES_MAX, CommitBody, DealBody, DealerKey, EncryptedDealing};
use super::{Generated, public_point};
use crate::abort::{Abort, Fault};
use crate::roster::Roster;
use crate::round::{Advance, Inbox, Outbox, Round};
use crate::share::{KeyPublic, KeyShare};
use quoin_core::cbor::{self, Version};
use quoin_core::{NodeIndex, SecretBytes};
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A faulty participant and its fault.
type Faults = Vec<(Option<NodeIndex>, Fault)>;

/// The secret keys to which each dealer encrypts its dealing for us, by dealer.
type CeremonyKeys = BTreeMap<NodeIndex, SecretBytes<32>>;

/// Starts a ceremony: draws what this node deals, if it does, and sends round 1.
pub(crate) fn start<G: Group>(
    plan: Plan,
    roster: Arc<Roster>,
    share: Option<&KeyShare>,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Box<dyn Round<Generated>>, Outbox), Abort> {
    let context = Context::new(plan, roster)?;
    let part = Part::<G>::draw(&context, share, rng)?;
    let (round, outbox) = Committed::new(context, part, rng)?;
    Ok((Box::new(round), outbox))
}

/// What a node brings to a ceremony.
pub(crate) struct Part<G: Group> {
    /// What it deals; `None` from somebody who only receives.
    pub(crate) dealing: Option<Dealing<G>>,
    /// What its new share starts from: its old share in a refresh, otherwise zero. Boxed like
    /// every secret of a round: finishing a round moves it out of its own box, whose memory is
    /// then freed as it is, so no secret may stand in it.
    pub(crate) carried: Box<Zeroizing<G::Scalar>>,
}

impl<G: Group> Part<G> {
    /// Draws the polynomial that our role demands.
    ///
    /// Birth (19.1): all coefficients are random. Refresh (19.2): the constant term is zero, and
    /// the shares of zero are added to the old ones. Reshare (19.3): the constant term of a dealer
    /// is its old share with the weight that it has among the dealers, so that the sum of all
    /// constants is the key; everyone else draws nothing.
    pub(crate) fn draw(
        context: &Context,
        share: Option<&KeyShare>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Self, Abort> {
        let (plan, me) = (&context.plan, context.me());
        let threshold = plan.params.threshold;
        let mut carried = Box::new(Zeroizing::new(G::zero()));
        let polynomial = match &plan.lineage {
            Lineage::Birth => Some(Polynomial::<G>::random(threshold, rng)),
            Lineage::Refresh(base) => {
                carried = Box::new(own_share::<G>(me, base, share)?);
                Some(Polynomial::through(&G::zero(), threshold, rng))
            }
            Lineage::Reshare(base, _) => match plan.weight::<G>(me) {
                Some(weight) => {
                    let old = own_share::<G>(me, base, share)?;
                    let constant = Zeroizing::new(*old * weight);
                    Some(Polynomial::<G>::through(&constant, threshold, rng))
                }
                None => None,
            },
        };
        let dealer = Dealer {
            sid: &context.sid,
            node: me,
        };
        let dealing = polynomial.map(|p| Dealing::new(plan, dealer, p, rng));
        Ok(Self { dealing, carried })
    }
}

/// Our old share, if it is the one that the base record names.
///
/// A node that was restored from an older epoch stops here, before it has said anything. If it
/// went on, its new share would be worth nothing and nobody would know until the old one is gone
/// (section 21.7).
fn own_share<G: Group>(
    me: NodeIndex,
    base: &KeyPublic,
    share: Option<&KeyShare>,
) -> Result<Zeroizing<G::Scalar>, Abort> {
    let wrong = || Abort::one(None, Fault::WrongShare);
    let share = share.ok_or_else(wrong)?;
    let certified = public_point(base.scheme, &share.secret);
    let right = certified.is_some() && certified.as_deref() == base.public_share(me);
    if !Guard::OwnRecord.holds(share.node == me && share.public == *base)
        || !Guard::OwnShare.holds(right)
    {
        return Err(wrong());
    }
    let scalar = G::decode_scalar(share.secret.expose());
    scalar.map(Zeroizing::new).ok_or_else(wrong)
}

/// Has committed, and waits for everyone's commitment.
pub(crate) struct Committed<G: Group> {
    context: Context,
    part: Part<G>,
    keys: CeremonyKeys,
    own: Heard,
}

impl<G: Group> Committed<G> {
    pub(crate) fn new(
        context: Context,
        part: Part<G>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Self, Outbox), Abort> {
        let (mut keys, mut public) = (CeremonyKeys::new(), Vec::new());
        for dealer in context.dealers_for(context.me()) {
            let secret = SecretBytes::random(rng);
            let key = seal::public_key(&secret);
            let key = key.ok_or_else(|| Abort::one(None, Fault::BadCeremonyKey))?;
            public.push(DealerKey { dealer, key });
            keys.insert(dealer, secret);
        }
        let dealer = Dealer {
            sid: &context.sid,
            node: context.me(),
        };
        let dealing = part.dealing.as_ref();
        let body = CommitBody {
            version: Version,
            sid: context.sid,
            commitment: dealing.map(|dealing| commitment(dealer, &dealing.opening)),
            keys: public,
        };
        let (own, outbox) = context.broadcast(1, cbor::encode(&body));
        let round = Self {
            context,
            part,
            keys,
            own,
        };
        Ok((round, outbox))
    }

    /// Seals a dealing for everyone else, each to the key made for us.
    fn seal_dealings(
        &self,
        bodies: &BTreeMap<NodeIndex, CommitBody>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Vec<EncryptedDealing>, Faults> {
        let me = self.context.me();
        let dealer = Dealer {
            sid: &self.context.sid,
            node: me,
        };
        let Some(own) = &self.part.dealing else {
            return Ok(Vec::new());
        };
        let (mut dealings, mut faults) = (Vec::new(), Faults::new());
        for (receiver, body) in bodies {
            let sealed = key_for(body, me).and_then(|key| {
                let dealing = own.polynomial.at(*receiver);
                seal_dealing::<G>(dealer, *receiver, key, &dealing, rng)
            });
            match sealed {
                Some(sealed) => dealings.push(sealed),
                None => faults.push((Some(*receiver), Fault::BadCeremonyKey)),
            }
        }
        if faults.is_empty() {
            Ok(dealings)
        } else {
            Err(faults)
        }
    }

    pub(crate) fn deal(
        self,
        inbox: Inbox,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Dealt<G>, Outbox), Abort> {
        let mut view = self.context.receive(1, inbox)?;
        let bodies = read_all(&view, |sender, body| {
            check_commit(&self.context, sender, body)
        })
        .map_err(Abort::many)?;
        let dealings = self.seal_dealings(&bodies, rng).map_err(Abort::many)?;
        let me = self.context.me();
        view.insert(me, self.own);
        let round1 = round1_hash(&self.context.sid, view.values().map(|h| &h.digest));
        let Part { dealing, carried } = self.part;
        let body = DealBody {
            version: Version,
            round1,
            opening: dealing.as_ref().map(|d| d.opening.clone()),
            dealings,
        };
        let (own, outbox) = self.context.broadcast(2, cbor::encode(&body));
        let commitments = bodies
            .into_iter()
            .filter_map(|(n, b)| Some((n, b.commitment?)));
        let mut share = carried;
        if let Some(dealing) = &dealing {
            **share = **share + *dealing.polynomial.at(me);
        }
        let round = Dealt {
            commitments: commitments.collect(),
            share,
            own_points: dealing.map(|d| d.points),
            context: self.context,
            keys: self.keys,
            view,
            round1,
            own,
        };
        Ok((round, outbox))
    }
}

impl<G: Group> Round<Generated> for Committed<G> {
    fn number(&self) -> u8 {
        1
    }

    fn awaits(&self) -> Vec<NodeIndex> {
        self.context.others_of(self.context.me())
    }

    fn is_secret_dependent(&self) -> bool {
        false
    }

    fn finish(
        self: Box<Self>,
        inbox: Inbox,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Advance<Generated>, Abort> {
        let (round, outbox) = self.deal(inbox, rng)?;
        Ok(Advance::Next(Box::new(round), outbox))
    }
}

/// Has dealt, and waits for everyone's opening and dealings.
pub(crate) struct Dealt<G: Group> {
    context: Context,
    keys: CeremonyKeys,
    /// Everyone's round 1, ours included.
    view: View,
    round1: [u8; 32],
    commitments: BTreeMap<NodeIndex, [u8; 32]>,
    /// What our share starts from, with our own dealing to us; boxed for the same reason.
    share: Box<Zeroizing<G::Scalar>>,
    /// Our own Feldman commitment, if we deal.
    own_points: Option<Vec<G::Point>>,
    own: Heard,
}

impl<G: Group> Dealt<G> {
    /// The public checks of one broadcast; gives a dealer's commitment, and nothing of a receiver.
    fn check_public(
        &self,
        node: NodeIndex,
        body: &DealBody,
    ) -> Result<Option<Vec<G::Point>>, Fault> {
        // A node with another view of round 1 is judged no further: it may be honest, and
        // whoever sent two different broadcasts is to blame (amendment 8).
        if !Guard::SameView.holds(body.round1 == self.round1) {
            return Err(Fault::ContextDiffers);
        }
        let plan = &self.context.plan;
        let deals = plan.deals(node);
        if !Guard::Role.holds(body.opening.is_some() == deals) {
            return Err(Fault::WrongRole);
        }
        let mut receivers = self.context.others_of(node);
        receivers.retain(|_| deals);
        let named = body.dealings.iter().map(|d| d.receiver);
        if !Guard::Receivers.holds(named.eq(receivers)) {
            return Err(Fault::WrongLength);
        }
        let Some(opening) = body.opening.as_ref().filter(|_| deals) else {
            return Ok(None);
        };
        let dealer = Dealer {
            sid: &self.context.sid,
            node,
        };
        let opens = self.commitments.get(&node) == Some(&commitment(dealer, opening));
        if !Guard::Opens.holds(opens) {
            return Err(Fault::BadCommitment);
        }
        let points = read_coefficients::<G>(plan, node, opening)?;
        check_possession::<G>(plan, dealer, opening, &points)?;
        Ok(Some(points))
    }

    /// The dealing of one dealer, or our complaint against it.
    fn check_private(
        &self,
        node: NodeIndex,
        body: &DealBody,
        points: &[G::Point],
    ) -> Result<Zeroizing<G::Scalar>, Fault> {
        let dealer = Dealer {
            sid: &self.context.sid,
            node,
        };
        let secret = self.keys.get(&node).ok_or(Fault::WrongParticipants)?;
        open_dealing::<G>(dealer, self.context.me(), secret, body, points)
    }

    pub(crate) fn complain(&self, accused: NodeIndex, round2: &Heard) -> Option<Complaint> {
        let evidence = Evidence {
            sid: self.context.sid,
            accuser: self.context.me(),
            accused,
            round1: self.view.get(&self.context.me())?.signed.clone(),
            round1_digests: self.view.values().map(|h| h.digest.into()).collect(),
            round2: round2.signed.clone(),
        };
        let opened = self.keys.get(&accused)?;
        Some(Complaint::sign(
            evidence,
            opened,
            &self.context.roster.identity,
        ))
    }

    /// Evaluates everyone before anything is decided.
    fn check_all(&self, view: &View) -> Result<Checked<G>, Abort> {
        let own = self.own_points.iter();
        let mut checked = Checked {
            points: own.map(|p| (self.context.me(), p.clone())).collect(),
            share: Zeroizing::new(**self.share),
        };
        let (mut faults, mut complaints) = (Faults::new(), Vec::new());
        for (node, heard) in view {
            let body = cbor::decode::<DealBody>(&heard.signed.body, BODY_BYTES_MAX);
            let read = body
                .map_err(|_| Fault::MalformedBroadcast)
                .and_then(|body| {
                    let points = self.check_public(*node, &body)?;
                    Ok(points.map(|points| (body, points)))
                });
            let (body, points) = match read {
                Ok(Some(read)) => read,
                Ok(None) => continue,
                Err(fault) => {
                    faults.push((Some(*node), fault));
                    continue;
                }
            };
            match self.check_private(*node, &body, &points) {
                Ok(dealing) => *checked.share = *checked.share + *dealing,
                Err(fault) => {
                    faults.push((Some(*node), fault));
                    complaints.extend(self.complain(*node, heard));
                }
            }
            checked.points.insert(*node, points);
        }
        if matches!(self.context.plan.lineage, Lineage::Birth) {
            faults.extend(copied_dealers::<G>(self.context.me(), &checked.points));
        }
        if faults.is_empty() {
            Ok(checked)
        } else {
            Err(Abort { faults, complaints })
        }
    }

    fn echo(self, inbox: Inbox) -> Result<(Echoing, Outbox), Abort> {
        let mut view = self.context.receive(2, inbox)?;
        let checked = self.check_all(&view)?;
        view.insert(self.context.me(), self.own);
        let mut public =
            public_record::<G>(&self.context.plan, &self.context.nodes(), checked.points)
                .map_err(|fault| Abort::one(None, fault))?;
        transcript(&mut public, &self.context, [&self.view, &view]);
        let share_point = G::encode_point(&G::generate(&checked.share));
        let certified = public.public_share(self.context.me());
        if !Guard::NewShare.holds(certified == Some(share_point.as_slice())) {
            return Err(Abort::one(None, Fault::WrongShare));
        }
        let share = KeyShare {
            public,
            node: self.context.me(),
            secret: SecretBytes::take(&mut G::encode_scalar(&checked.share)),
        };
        Ok(Echoing::new(self.context, share, share_point))
    }
}

impl<G: Group> Round<Generated> for Dealt<G> {
    fn number(&self) -> u8 {
        2
    }

    fn awaits(&self) -> Vec<NodeIndex> {
        self.context.others_of(self.context.me())
    }

    /// A dealing that fails is shown to everyone by a complaint, so there is nothing to probe.
    fn is_secret_dependent(&self) -> bool {
        false
    }

    fn finish(
        self: Box<Self>,
        inbox: Inbox,
        _: &mut dyn CryptoRngCore,
    ) -> Result<Advance<Generated>, Abort> {
        let (round, outbox) = self.echo(inbox)?;
        Ok(Advance::Next(Box::new(round), outbox))
    }
}

/// What is left of all dealers once every check has passed.
struct Checked<G: Group> {
    /// Each dealer's Feldman commitment, ours included.
    points: BTreeMap<NodeIndex, Vec<G::Point>>,
    /// What our share started from with the sum of all dealings to us, which is our new share.
    share: Zeroizing<G::Scalar>,
}

/// Reads and checks everyone's round 1.
fn read_all(
    view: &View,
    check: impl Fn(NodeIndex, &CommitBody) -> Result<(), Fault>,
) -> Result<BTreeMap<NodeIndex, CommitBody>, Faults> {
    let (mut bodies, mut faults) = (BTreeMap::new(), Faults::new());
    for (sender, heard) in view {
        let read = cbor::decode::<CommitBody>(&heard.signed.body, BODY_BYTES_MAX)
            .map_err(|_| Fault::MalformedBroadcast)
            .and_then(|body| check(*sender, &body).map(|()| body));
        match read {
            Ok(body) => {
                bodies.insert(*sender, body);
            }
            Err(fault) => faults.push((Some(*sender), fault)),
        }
    }
    if faults.is_empty() {
        Ok(bodies)
    } else {
        Err(faults)
    }
}

/// A dealer commits, and nobody else does; and there is one key for each dealer, all different:
/// opening one must open one dealing only (rule (a)).
fn check_commit(context: &Context, sender: NodeIndex, body: &CommitBody) -> Result<(), Fault> {
    let deals = context.plan.deals(sender);
    if !Guard::Role.holds(body.commitment.is_some() == deals) {
        return Err(Fault::WrongRole);
    }
    let dealers = body.keys.iter().map(|k| k.dealer);
    let mut keys: Vec<&[u8; 32]> = body.keys.iter().map(|k| &k.key).collect();
    keys.sort_unstable();
    let repeated = keys.iter().zip(keys.iter().skip(1)).any(|(a, b)| a == b);
    if Guard::KeyForEach.holds(dealers.eq(context.dealers_for(sender)))
        && Guard::KeysDistinct.holds(!repeated)
    {
        Ok(())
    } else {
        Err(Fault::BadCeremonyKey)
    }
}

/// The key that the sender of `body` made for `dealer`.
pub(crate) fn key_for(body: &CommitBody, dealer: NodeIndex) -> Option<&[u8; 32]> {
    let mut keys = body.keys.iter();
    keys.find(|k| k.dealer == dealer).map(|k| &k.key)
}

/// Everyone but us whose constant term is that of another dealer.
///
/// Both proofs of possession have passed by now, so the two dealers know one secret between them.
fn copied_dealers<G: Group>(me: NodeIndex, points: &BTreeMap<NodeIndex, Vec<G::Point>>) -> Faults {
    let mut faults = Faults::new();
    for (node, own) in points.iter().filter(|(node, _)| **node != me) {
        let mut others = points.iter().filter(|(other, _)| *other != node);
        let copied = others.any(|(_, other)| other.first() == own.first());
        if !Guard::Copied.holds(!copied) {
            faults.push((Some(*node), Fault::CopiedDealer));
        }
    }
    faults
}
