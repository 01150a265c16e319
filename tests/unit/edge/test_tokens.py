"""Tokens: who gets in, and a corpus of forged ones that do not."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence_actors.core.instants import WallMs
from presence_actors.core.policy import Scope
from presence_actors.core.vocabulary import ErrorCode, Identity
from presence_actors.edge.tokens import TokenRefused, TokenVerifier, mint
from presence_actors.errors import ConfigError, UsageError

KEY = b"k" * 32
#: A time in the past and one in the future, in seconds, that no run of these tests reaches.
PAST, FUTURE = 1_000_000_000, 4_000_000_000
CLAIMS: dict[str, object] = {"sub": "alice", "aud": "presence", "iat": PAST, "exp": FUTURE}
PUBLIC_KEY = b"""-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK3yvxNLlHoP2ye5fFb0RSxkTIjwmqxt
HD1ATGYDyUmU4Xq3WSDtjnEwWxU0LPxYWBDPYlHKqVNiJ1cSuS2jXq8CAwEAAQ==
-----END PUBLIC KEY-----
"""


def encoded(part: object) -> str:
    """One part of a token."""
    text = part if isinstance(part, str) else json.dumps(part)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def forge(
    claims: object, *, header: object = None, key: bytes = KEY, digest: str = "sha256"
) -> str:
    """A token by hand, so that it can be wrong in any way."""
    signed = f"{encoded(header or {'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims)}"
    signature = hmac.new(key, signed.encode(), getattr(hashlib, digest)).digest()
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def without(claim: str) -> dict[str, object]:
    """The claims but one."""
    return {name: value for name, value in CLAIMS.items() if name != claim}


def refusal(token: str, verifier: TokenVerifier | None = None) -> TokenRefused:
    """What a token is refused with."""
    with pytest.raises(TokenRefused) as refused:
        (verifier or TokenVerifier(KEY)).verify(token)
    return refused.value


def test_a_token_says_who_its_bearer_is() -> None:
    """User, namespace and end come from the claims."""
    identity = TokenVerifier(KEY).verify(forge({**CLAIMS, "ns": "shop-1"}))
    assert identity == Identity("shop-1", "alice", WallMs(FUTURE * 1_000))  # type: ignore[arg-type]


def test_a_token_without_a_namespace_is_of_the_default_one() -> None:
    """Who has one tenant need not know of namespaces."""
    assert TokenVerifier(KEY).verify(forge(CLAIMS)).namespace == "default"


def test_a_user_has_one_spelling() -> None:
    """A token cannot make two users of one name."""
    token = forge({**CLAIMS, "sub": "Zoe\u0308"})
    assert TokenVerifier(KEY).verify(token).user == "Zo\u00eb"


def test_a_minted_token_is_taken() -> None:
    """The two ends of this module agree."""
    before = time.time()
    identity = TokenVerifier(KEY).verify(mint("alice", key=KEY, ttl_ms=60_000, namespace="shop"))
    assert (identity.namespace, identity.user) == ("shop", "alice")
    assert identity.expires is not None
    assert abs(identity.expires / 1_000 - (before + 60)) < 30


def test_headers_that_point_to_keys_are_not_looked_at() -> None:
    """Neither fetched nor believed: only our own key counts."""
    header = {
        "alg": "HS256",
        "kid": "../../dev/null",
        "jku": "http://evil.example/keys",
        "x5u": "http://evil.example/cert",
        "jwk": {"kty": "oct", "k": encoded("other")},
    }
    assert TokenVerifier(KEY).verify(forge(CLAIMS, header=header)).user == "alice"
    refusal(forge(CLAIMS, header=header, key=b"other"))
    refusal(forge(CLAIMS, header=header, key=b""))


FORGED: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "no token": lambda: "hello",
    "an open one": lambda: "dev:alice",
    "two parts": lambda: forge(CLAIMS).rpartition(".")[0],
    "no signature": lambda: forge(CLAIMS).rpartition(".")[0] + ".",
    "four parts": lambda: forge(CLAIMS) + ".a",
    "no base64": lambda: "a.b!.c",
    "not ASCII": lambda: forge(CLAIMS) + "ä",
    "another key": lambda: forge(CLAIMS, key=b"x" * 32),
    "alg none": lambda: forge(CLAIMS, header={"alg": "none"}),
    "alg none, unsigned": lambda: forge(CLAIMS, header={"alg": "none"}).rpartition(".")[0] + ".",
    "alg nOnE": lambda: forge(CLAIMS, header={"alg": "nOnE"}),
    "alg absent": lambda: forge(CLAIMS, header={"typ": "JWT"}),
    "alg a list": lambda: forge(CLAIMS, header={"alg": ["HS256"]}),
    "alg HS512": lambda: forge(CLAIMS, header={"alg": "HS512"}, digest="sha512"),
    "alg HS384": lambda: forge(CLAIMS, header={"alg": "HS384"}, digest="sha384"),
    "alg RS256, signed with the key": lambda: forge(CLAIMS, header={"alg": "RS256"}),
    "a public key as the secret": lambda: forge(CLAIMS, key=PUBLIC_KEY),
    "alg hs256": lambda: forge(CLAIMS, header={"alg": "hs256"}),
    "claims of another token": lambda: ".".join(
        [
            forge(CLAIMS).split(".")[0],
            encoded({**CLAIMS, "sub": "admin"}),
            forge(CLAIMS).split(".")[2],
        ]
    ),
    "no sub": lambda: forge(without("sub")),
    "no iat": lambda: forge(without("iat")),
    "no exp": lambda: forge(without("exp")),
    "no aud": lambda: forge(without("aud")),
    "another aud": lambda: forge({**CLAIMS, "aud": "payments"}),
    "several auds": lambda: forge({**CLAIMS, "aud": ["payments", "presence"]}),
    "not yet valid": lambda: forge({**CLAIMS, "nbf": FUTURE}),
    "issued in the future": lambda: forge({**CLAIMS, "iat": FUTURE}),
    "a sub that is a number": lambda: forge({**CLAIMS, "sub": 7}),
    "a sub that is empty": lambda: forge({**CLAIMS, "sub": ""}),
    "a sub with a new line": lambda: forge({**CLAIMS, "sub": "a\nb"}),
    "a sub that is too long": lambda: forge({**CLAIMS, "sub": "x" * 129}),
    "an exp that is a text": lambda: forge({**CLAIMS, "exp": str(FUTURE)}),
    "an iat that is true": lambda: forge({**CLAIMS, "iat": True}),
    "an exp that is null": lambda: forge({**CLAIMS, "exp": None}),
    "an exp that is infinite": lambda: forge(json.dumps({**CLAIMS, "exp": float("inf")})),
    "an exp that is NaN": lambda: forge(json.dumps({**CLAIMS, "exp": float("nan")})),
    "an exp beyond all": lambda: forge({**CLAIMS, "exp": 10**30}),
    "an iat that is a text": lambda: forge({**CLAIMS, "iat": str(PAST)}),
    "a namespace that is a path": lambda: forge({**CLAIMS, "ns": "a/b"}),
    "a namespace that is empty": lambda: forge({**CLAIMS, "ns": ""}),
    "a namespace that is a number": lambda: forge({**CLAIMS, "ns": 7}),
    "a namespace that is too long": lambda: forge({**CLAIMS, "ns": "x" * 65}),
    "a scope that is a list": lambda: forge({**CLAIMS, "scope": ["presence:kick"]}),
    "a scope that is null": lambda: forge({**CLAIMS, "scope": None}),
    "claims that are a list": lambda: forge([CLAIMS]),
    "claims that are no JSON": lambda: forge("{"),
    "claims nested beyond all": lambda: forge("[" * 3_000),
    "a token beyond all": lambda: forge({**CLAIMS, "x": "y" * 9_000}),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused_and_does_not_learn_why(name: str) -> None:
    """All of them get the same words."""
    refused = refusal(FORGED[name]())
    assert refused.code is ErrorCode.UNAUTHORIZED
    assert str(refused) == "the token is not valid for this gateway"


def test_a_token_that_has_run_out_says_so_to_its_owner() -> None:
    """Its bearer can get a new one; a forged one learns nothing by being old."""
    assert refusal(forge({**CLAIMS, "exp": PAST})).code is ErrorCode.TOKEN_EXPIRED
    forged = refusal(forge({**CLAIMS, "exp": PAST}, key=b"x" * 32))
    assert forged.code is ErrorCode.UNAUTHORIZED


def test_an_issuer_is_demanded_where_one_is_configured() -> None:
    """Otherwise it does not matter."""
    ours = TokenVerifier(KEY, issuer="shop")
    assert ours.verify(forge({**CLAIMS, "iss": "shop"})).user == "alice"
    assert ours.verify(mint("alice", key=KEY, issuer="shop")).user == "alice"
    for claims in (CLAIMS, {**CLAIMS, "iss": "other"}, {**CLAIMS, "iss": ["shop"]}):
        assert refusal(forge(claims), ours).code is ErrorCode.UNAUTHORIZED
    assert TokenVerifier(KEY).verify(forge({**CLAIMS, "iss": "other"})).user == "alice"


def test_the_token_of_an_app_server_says_what_it_may_do() -> None:
    """By its claim `scope`; words that are another server's business give no right."""
    claims = {**CLAIMS, "scope": "mail:send presence:publish presence:kick kick"}
    identity = TokenVerifier(KEY).verify(forge(claims))
    assert identity.scopes == (Scope.KICK, Scope.PUBLISH)
    minted = mint("shop", key=KEY, scopes=[Scope.INTENT, Scope.READ])
    assert TokenVerifier(KEY).verify(minted).scopes == (Scope.READ, Scope.INTENT)


@pytest.mark.parametrize("scope", ["", " ", "kick", "presence:*", "presence:kick\tpresence:read"])
def test_without_a_scope_of_ours_a_token_lets_nobody_act(scope: str) -> None:
    """It still says who its bearer is."""
    assert TokenVerifier(KEY).verify(forge({**CLAIMS, "scope": scope})).scopes == ()
    assert TokenVerifier(KEY).verify(mint("alice", key=KEY)).scopes == ()


def test_at_an_open_gateway_an_app_server_may_do_everything() -> None:
    """By another word than people, so that no person acts by mistake."""
    verifier = TokenVerifier(None)
    assert mint("shop", key=None, scopes=[Scope.KICK]) == "dev-server:shop"
    assert verifier.verify("dev-server:shop").scopes == tuple(Scope)
    assert verifier.verify("dev:shop").scopes == ()
    assert refusal("dev-server:", verifier).code is ErrorCode.UNAUTHORIZED


def test_a_short_key_is_no_key() -> None:
    """Shorter than the hash it can be guessed; the error does not show it."""
    short = b"secret" * 5
    for use in (lambda: TokenVerifier(short), lambda: mint("alice", key=short)):
        with pytest.raises(ConfigError) as refused:
            use()
        assert refused.value.knob == "jwt_key"
        assert "30 bytes" in str(refused.value)
        assert "secret" not in str(refused.value)


def test_an_open_gateway_believes_a_name() -> None:
    """`dev:alice` is alice, without an end."""
    verifier = TokenVerifier(None)
    assert verifier.is_open
    assert not TokenVerifier(KEY).is_open
    assert verifier.verify("dev:alice") == Identity("default", "alice")  # type: ignore[arg-type]
    assert verifier.verify(mint("alice", key=None)).user == "alice"


@pytest.mark.parametrize("token", ["", "alice", "DEV:alice", " dev:alice", forge(CLAIMS)])
def test_an_open_gateway_says_what_it_takes(token: str) -> None:
    """A signed token there is a mistake of configuration, and hears so."""
    refused = refusal(token, TokenVerifier(None))
    assert refused.code is ErrorCode.UNAUTHORIZED
    assert "dev:NAME" in str(refused)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 129])
def test_an_open_gateway_keeps_the_rules_for_names(name: str) -> None:
    """Open is not sloppy."""
    assert refusal(f"dev:{name}", TokenVerifier(None)).code is ErrorCode.UNAUTHORIZED


def test_a_token_that_could_never_be_valid_is_not_minted() -> None:
    """The mistake shows where it is made."""
    with pytest.raises(UsageError, match="empty"):
        mint("", key=KEY)
    with pytest.raises(UsageError, match="namespace"):
        mint("alice", key=KEY, namespace="a/b")
    with pytest.raises(UsageError, match="1s"):
        mint("alice", key=KEY, ttl_ms=999)
    with pytest.raises(UsageError, match="give a key"):
        mint("alice", key=None, namespace="shop")


@given(st.text() | st.tuples(st.text(), st.text(), st.text()).map(".".join))
def test_any_text_is_refused_in_the_same_way(token: str) -> None:
    """No token ends the gateway."""
    assert refusal(token).code is ErrorCode.UNAUTHORIZED


@given(st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "x"]), st.text()))
def test_any_header_is_refused_or_harmless(header: dict[str, str]) -> None:
    """Nothing in a header makes a token of another key valid."""
    refusal(forge(CLAIMS, header=header, key=b"x" * 32))
