"""The words by which programs that answer for people give themselves away, in a subject and in a text.

People write *about* offices and holidays: so a word counts only where the subject ends or pauses behind it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailer.model.letter import Automatic

LINES = 6  # an autoresponder comes to the point
LINE_CHARACTERS = 400


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile(f"(?:{'|'.join(patterns)})", re.IGNORECASE)


_REPLY_MARK = _any(
    r"(re|aw|sv|antw|fwd?|回复|回覆|答复|答覆|转发|轉寄|轉發)\s?[:：]\s*",
    r"\[(external|ext|外部|外來)\]\s*",
)
_OPENING = re.compile(r"[\[(（【「『<《*\s]*")
_PAUSE = r"(\s*($|[:：!！.…(（【\-–—,，。;；~]))"
_UNTIL = rf"({_PAUSE}|\s+(until|till|from|re|returning|through|on|this|next|for)\b)"
_AWAY = (
    r"(((currently|temporarily) )?(out|away|absent) (of|from) (the |my |our )?office|out[- ]of[- ]office|away"
    r"|on (annual |sick |maternity |paternity |parental |medical |a )?(leave|vacation|holidays?|business trip))"
)
_ABSENT = (  # 不在 …, 休假 …: the words of Chinese mail programs, and what people put into them
    r"(目前|現在|现在|正在|近期|暂时|暫時)?"
    r"(不在办公室|不在辦公室|不在座位|不在公司|离开办公室|離開辦公室|外出中?|休假中?|度假中?|出差中?|请假中?|請假中?|公出|年假中?|不在"
    r"|正在休假|正在外出|正在度假|正在出差)"
)
_SUBJECT = _any(
    r"auto(matic|mated|matically generated|mated generated)?[- ]?(e-?mail )?"
    r"(reply|respons|response|respond|responder|answer|acknowledge?ment)\b",
    r"(yahoo!?|aol|hotmail|gmail|qq邮箱|網易|网易|163)\s*(auto|自动|自動)\s?-?(reply|response|回复|回覆)",
    r"automatische (antwort|e-?mail)|automatisch antwoord|automatiskt svar|autosvar|automatisk (svar|besvarelse)",
    r"automaattinen vastaus|automatická odpověď|odpowiedź automatyczna|autoodpowiedź|otomatik yanıt|автоответ",
    r"автоматический ответ|réponse automatique|respuesta automática|fuera de la oficina",
    r"risposta automatica|fuori ufficio|resposta automática|自動応答|不在通知|부재중|자동 ?(응답|회신)",
    r"abwesen(d|heit)\w*|auto-?antwort|au(ss|ß)er haus|afwezig(heid)?\b|je suis absent|absence du bureau",
    r"auto\s?[:：]|(vacation|holidays?|absence|absent)\s?[:：]|(i am |i'm )?not in (the )?office\b",
    rf"((i am|i'm|i’m|we are) )?{_AWAY}{_UNTIL}|ooo\b\s*($|[:(\-–—])|oof\s*:",
    r"(out[- ]of[- ](the )?office|away|absence|vacation|holiday|leave)[- ]*(auto[- ]?)?"
    r"(reply|response|autoreply|notification|message|notice|alert|responder)\b",
    rf"(?!(i|we)\b).{{1,80}}? (is|will be) {_AWAY}{_UNTIL}",  # Lotus Notes: "Ada Lovelace is out of the office."
    r"away from (my|the) (desk|mail|email|e-mail|computer|keyboard)\b",
    r"vacation( auto-?reply| reply| response| message| notice|\])",
    r"thank you for contacting\b|(we (have )?)?received your (message|e-?mail|request|enquiry|inquiry)\b",
    r"your (message|e-?mail|request|enquiry|inquiry|ticket) (has been|was) (received|created)\b",
    r"please confirm your (message|e-?mail)\b|sender (address )?verification|(e-?mail )?challenge[- ]response\b",
    r"your message to .{1,80} awaits (moderator )?approval",
    r"(系统|系統|邮箱|郵箱|邮件|郵件|信箱)?(自动|自動)(回复|回覆|回復|答复|答覆|应答|應答|回应|回應|回信|回郵|回邮|发送|發送)",
    r"(假期|休假|度假|离线|離線|外出|外出時|外出时)(中)?的?(自动|自動)?(回复|回覆|回復|通知|訊息|讯息|消息|提醒)",
    r"(您|你)的(邮件|郵件|来信|來信)(我)?(已经|已經|已)?收到|(我)?(已经|已經|已)收到(您|你)的(邮件|郵件|来信|來信)|(自动|自動)(回执|回條)",
    rf"我?(今天|今日|本周|本週|目前)?(在(?=休|度|外|出))?{_ABSENT}(通知|回复|回覆|自动回复|自動回覆)?{_PAUSE}",
)
_SUBJECT_END = _any(
    r"[(\[（【「《](auto(matic|mated)?[- ]?(reply|response)|(自动|自動)(回复|回覆|回復|答复|答覆|回應|回应))"
    r"[)\]）】」》]\s*$",
    r"[-–—:：]\s*(auto(matic|mated)?[- ]?(reply|response)|out of (the )?office( reply)?)\s*$",
    r"[-–—:：]\s*(自动|自動)(回复|回覆|回復)\s*$",
)
_REPORT = _any(
    r"undeliver(able|ed)( mail| message)?\b|mail delivery (failed|failure|subsystem|system)|nondeliverable mail",
    r"delivery status notification|(message |mail )?delivery (failure|notification|report|has failed|delayed)",
    r"returned mail\b|returned to sender|failure notice|mail system error|message status - |unzustellbar",
    r"warning: (could not send|message .{0,60}delayed)|report domain: |non remis\b|no se puede entregar",
    r"(read|not read|gelesen|gelezen|lu|leído|已读|已讀|未读|未讀|讀取|读取|已開啟)\s?[:：]",
    r"(read|return) receipt\b",
    r"(已读|已讀|读取|讀取)(回执|回條|回条|回報)",
    r"(系统|系統)?退信(通知)?" + _PAUSE,
    r"投递失败|投遞失敗|(邮件|郵件)(退回|无法投递|無法投遞|無法傳遞)",
    r"(无法|無法|未能)(投递|投遞|傳遞|送达|送達)" + _PAUSE,
)
_GREETING = _any(
    r"((dear|hello|hi|good (morning|afternoon|day)|greetings)\b[^.:!，,]{0,40}(?=[,.:;!，]|$)"
    r"|您好|你好|大家好|尊敬的.{0,20}|親愛的.{0,20})\s*[,.:;!，。：！]*\s*"
)
_THANKS = _any(
    r"(many )?(thanks|thank you)( very much| so much)? for (your|the|contacting|writing)\b[^.!,;]{0,60}([.!,;]\s*|$)",
    r"(感谢|感謝|谢谢|謝謝)(您|你)?(的)?(来信|來信|邮件|郵件|电邮|電郵|联系|聯絡)[，,。.！!]*\s*",
)
_TEXT = _any(
    rf"(please note( that)?,? )?((i am|i'm|i’m|we are|i will be|i'll be|i’ll be) ){_AWAY}\b",
    r"(i am|i'm|i’m|i will be) (currently|presently|now|temporarily)? ?"
    r"(out of town|unavailable|not available|travel|not (in|at) (the|my) office)",
    r"(this is an? |\[?this message is an? )?(auto(matic|mated|matically|-)? ?-?(generated )?"
    r"(reply|response|answer|message|e-?mail|out[- ]of[- ]office))\b",
    r"(your (message|e-?mail|letter) (has been|was) received|(i|we) (have )?(just )?received your (message|e-?mail))",
    r".{0,60}(out of (the )?office|on (annual )?leave|on vacation) (until|till|from|and will)\b",
    rf"(很抱歉[，,]?|抱歉[，,]?|对不起[，,]?|對不起[，,]?)?(我|本人)(最近|今天|今日|本周|本週|暂|暫)?{_ABSENT}",
    r"(这|這|本|此)(是|封|邮件|郵件|信)?.{0,14}(自动|自動)(回复|回覆|回復|答复|答覆|发送|發送|回信|發出|发出)",
    r"(系统|系統)?(自动|自動)(回复|回覆|回復|答复|答覆)",
    r"(我)?(已经|已經|已)?(收到|收悉)(了)?(您|你)(的)?(来信|來信|邮件|郵件|电邮|電郵)|(您|你)的(邮件|郵件|来信|來信)(我)?(已经|已經|已)?(收到|收悉)",
)


def by_subject(subject: str) -> Automatic | None:
    """Return what a subject, decoded and on one line, says about who wrote the letter."""
    bare = subject.strip()
    for _ in range(4):  # "Re: Re: AW: …"
        bare = _REPLY_MARK.sub("", bare, count=1) if _REPLY_MARK.match(bare) else bare
    words = _OPENING.sub("", bare, count=1)
    if _SUBJECT.match(words) or _SUBJECT_END.search(bare):
        return Automatic.AUTORESPONDER
    return Automatic.REPORT if _REPORT.match(words) else None


def by_text(own_lines: Sequence[str]) -> bool:
    """Return whether the writer's own lines begin as an autoresponder's do.

    A person may write such words to a person. So this counts only where a letter would confirm something by having
    come at all, whatever it says.
    """
    first = next(filter(None, map(_without_courtesies, own_lines[:LINES])), "")
    return bool(_TEXT.match(first))


def _without_courtesies(line: str) -> str:
    rest = line[:LINE_CHARACTERS].strip()
    for courtesy in (_GREETING, _THANKS):
        found = courtesy.match(rest)
        rest = rest[found.end() :] if found else rest
    return rest
