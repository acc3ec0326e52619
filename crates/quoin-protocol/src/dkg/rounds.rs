//! The three rounds of key generation.
//!
//! Source: the construction's section 19.1 with the amendments 5 and 8 of section 21. Each state
//! holds exactly the secrets that the next step needs: the polynomial dies when the dealings are
//! sealed, the ceremony keys and the dealings die when the echo is signed or the ceremony aborts.

use super::complaint::{Complaint, Evidence};
use super::context::{Context, DkgParams, View, round1_hash};
use super::dealer::{
    Dealer, check_possession, commitment, make_opening, open_dealing, read_coefficients,
    seal_dealing,
};
use super::echo::Echoing;
use super::group::Group;
use super::polynomial::{Polynomial, evaluate};
use super::seal;
use super::wire::{BODY_BYTES_MAX, CommitBody, DealBody, DealerKey, Opening};
use super::{Generated, context::Heard};
use crate::abort::{Abort, Fault};
use crate::roster::Roster;
use crate::round::{Advance, Inbox, Outbox, Round};
use crate::share::{KeyPublic, KeyShare, PublicShare};
use quoin_core::cbor::{self, Version};
use quoin_core::hash::{TaggedHasher, tagged};
use quoin_core::{KeyOrigin, NodeIndex, SecretBytes, ShareEpoch, tags};
use rand_core::CryptoRngCore;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A faulty participant and its fault.
type Faults = Vec<(Option<NodeIndex>, Fault)>;

/// The secret keys to which each dealer encrypts its dealing for us, by dealer.
type CeremonyKeys = BTreeMap<NodeIndex, SecretBytes<32>>;

/// Starts a ceremony: draws a polynomial and sends round 1.
pub(crate) fn start<G: Group>(
    params: DkgParams,
    roster: Arc<Roster>,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Box<dyn Round<Generated>>, Outbox), Abort> {
    let context = Context::new(params, roster)?;
    let polynomial = Polynomial::<G>::random(context.params.threshold, rng);
    let dealer = Dealer {
        sid: &context.sid,
        node: context.me(),
    };
    let opening = make_opening(dealer, &polynomial, rng);
    let (round, outbox) = Committed::new(context, polynomial, opening, rng)?;
    Ok((Box::new(round), outbox))
}

/// Has committed, and waits for everyone's commitment.
pub(crate) struct Committed<G: Group> {
    context: Context,
    polynomial: Polynomial<G>,
    opening: Opening,
    keys: CeremonyKeys,
    own: Heard,
}

impl<G: Group> Committed<G> {
    pub(crate) fn new(
        context: Context,
        polynomial: Polynomial<G>,
        opening: Opening,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Self, Outbox), Abort> {
        let (mut keys, mut public) = (CeremonyKeys::new(), Vec::new());
        for dealer in context.others_of(context.me()) {
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
        let body = CommitBody {
            version: Version,
            sid: context.sid,
            commitment: commitment(dealer, &opening),
            keys: public,
        };
        let (own, outbox) = context.broadcast(1, cbor::encode(&body));
        let round = Self {
            context,
            polynomial,
            opening,
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
    ) -> Result<DealBody, Faults> {
        let me = self.context.me();
        let dealer = Dealer {
            sid: &self.context.sid,
            node: me,
        };
        let (mut dealings, mut faults) = (Vec::new(), Faults::new());
        for (receiver, body) in bodies {
            let sealed = key_for(body, me).and_then(|key| {
                let dealing = self.polynomial.at(*receiver);
                seal_dealing::<G>(dealer, *receiver, key, &dealing, rng)
            });
            match sealed {
                Some(sealed) => dealings.push(sealed),
                None => faults.push((Some(*receiver), Fault::BadCeremonyKey)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(DealBody {
            version: Version,
            round1: [0; 32],
            opening: self.opening.clone(),
            dealings,
        })
    }

    pub(crate) fn deal(
        self,
        inbox: Inbox,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Dealt<G>, Outbox), Abort> {
        let mut view = self.context.receive(1, inbox)?;
        let bodies = read_all(&view, |sender, body| {
            check_keys(&self.context, sender, body)
        })
        .map_err(Abort::many)?;
        let mut body = self.seal_dealings(&bodies, rng).map_err(Abort::many)?;
        let me = self.context.me();
        view.insert(me, self.own);
        body.round1 = round1_hash(&self.context.sid, view.values().map(|h| &h.digest));
        let round1 = body.round1;
        let (own, outbox) = self.context.broadcast(2, cbor::encode(&body));
        let commitments = bodies.into_iter().map(|(n, b)| (n, b.commitment));
        let round = Dealt {
            commitments: commitments.collect(),
            own_dealing: self.polynomial.at(me),
            own_points: self.polynomial.commit(),
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
    own_dealing: Zeroizing<G::Scalar>,
    own_points: Vec<G::Point>,
    own: Heard,
}

impl<G: Group> Dealt<G> {
    /// The public checks of one dealer.
    fn check_public(&self, node: NodeIndex, body: &DealBody) -> Result<Vec<G::Point>, Fault> {
        // A dealer with another view of round 1 is judged no further: it may be honest, and
        // whoever sent two different broadcasts is to blame (amendment 8).
        if body.round1 != self.round1 {
            return Err(Fault::ContextDiffers);
        }
        let receivers = body.dealings.iter().map(|d| d.receiver);
        if !receivers.eq(self.context.others_of(node)) {
            return Err(Fault::WrongLength);
        }
        let dealer = Dealer {
            sid: &self.context.sid,
            node,
        };
        if self.commitments.get(&node) != Some(&commitment(dealer, &body.opening)) {
            return Err(Fault::BadCommitment);
        }
        let points = read_coefficients::<G>(&body.opening, self.context.params.threshold)?;
        check_possession::<G>(dealer, &body.opening, &points)?;
        Ok(points)
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

    /// Evaluates every dealer before anything is decided.
    fn check_all(&self, view: &View) -> Result<Checked<G>, Abort> {
        let mut checked = Checked {
            points: BTreeMap::from([(self.context.me(), self.own_points.clone())]),
            share: Zeroizing::new(*self.own_dealing),
        };
        let (mut faults, mut complaints) = (Faults::new(), Vec::new());
        for (node, heard) in view {
            let body = match cbor::decode::<DealBody>(&heard.signed.body, BODY_BYTES_MAX) {
                Ok(body) => body,
                Err(_) => {
                    faults.push((Some(*node), Fault::MalformedBroadcast));
                    continue;
                }
            };
            let points = match self.check_public(*node, &body) {
                Ok(points) => points,
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
        faults.extend(copied_dealers::<G>(self.context.me(), &checked.points));
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
        let transcript = transcript(&self.context.sid, &self.view, &view);
        let public = public_record::<G>(&self.context, &checked.points, transcript)?;
        let share = KeyShare {
            public,
            node: self.context.me(),
            secret: SecretBytes::take(&mut G::encode_scalar(&checked.share)),
        };
        let share_point = G::encode_point(&G::generate(&checked.share));
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
    /// The sum of all dealings to us, which is our share.
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

/// One key for each dealer, all different: opening one must open one dealing only (rule (a)).
fn check_keys(context: &Context, sender: NodeIndex, body: &CommitBody) -> Result<(), Fault> {
    let dealers = body.keys.iter().map(|k| k.dealer);
    let mut keys: Vec<&[u8; 32]> = body.keys.iter().map(|k| &k.key).collect();
    keys.sort_unstable();
    let repeated = keys.iter().zip(keys.iter().skip(1)).any(|(a, b)| a == b);
    if dealers.eq(context.others_of(sender)) && !repeated {
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
        if others.any(|(_, other)| other.first() == own.first()) {
            faults.push((Some(*node), Fault::CopiedDealer));
        }
    }
    faults
}

/// The hash of all broadcasts of rounds 1 and 2, in order.
fn transcript(sid: &[u8; 32], round1: &View, round2: &View) -> [u8; 32] {
    let mut hasher = TaggedHasher::new(tags::DKG_TRANSCRIPT);
    hasher.part(sid);
    for heard in round1.values().chain(round2.values()) {
        hasher.part(&heard.digest);
    }
    hasher.finish()
}

/// The key and all public shares, none of which may be the identity.
fn public_record<G: Group>(
    context: &Context,
    points: &BTreeMap<NodeIndex, Vec<G::Point>>,
    transcript: [u8; 32],
) -> Result<KeyPublic, Abort> {
    let degenerate = || Abort::one(None, Fault::DegenerateKey);
    let encode = |point: G::Point| {
        let usable = point != G::identity();
        usable
            .then(|| G::encode_point(&point))
            .ok_or_else(degenerate)
    };
    let constants = points.values().filter_map(|p| p.first());
    let key = constants.fold(G::identity(), |sum, c| sum + *c);
    let mut public_shares = Vec::new();
    for node in context.nodes() {
        let dealt = points.values().map(|p| evaluate::<G>(p, node));
        let point = encode(dealt.fold(G::identity(), |sum, p| sum + p))?;
        public_shares.push(PublicShare { node, point });
    }
    let params = &context.params;
    Ok(KeyPublic {
        version: Version,
        cluster: params.cluster,
        charter: params.charter,
        ceremony: params.ceremony,
        key: params.key,
        name: params.name.clone(),
        scheme: params.scheme,
        purpose: params.purpose,
        threshold: params.threshold,
        epoch: ShareEpoch::default(),
        public_key: encode(key)?,
        public_shares,
        transcript,
        chain_code: birth_chain_code(&transcript),
        origin: KeyOrigin::Born,
        previous: None,
    })
}

/// The chain code of a key that is born here: from its whole transcript, so that no single dealer
/// chooses it, and without another message.
pub(crate) fn birth_chain_code(transcript: &[u8; 32]) -> [u8; 32] {
    tagged(tags::CHAIN_CODE, &[transcript])
}
