"""What people write to mean a command: one table, three languages, each the equal of the others.

A line is a command when all of it is one phrase of the table, save for courtesies and the list's own name. So "please
take me off the list" acts, and "my aunt wants to unsubscribe too, how?" is a letter to a person.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from mailer.model.command import Verb
from mailer.model.language import Language
from mailer.model.subscriber import Format

EN, HANT, HANS = Language.EN, Language.ZH_HANT, Language.ZH_HANS
LONGEST_LINE = 30  # tokens: words, or single Han characters; no command is longer

# Verb → English, 繁體中文, 简体中文. A phrase that both Chinese columns share says nothing of the script. One that
# stands under SET_KEY and GET_KEY means the former when a key came with the letter. 求助 (a cry for help) and 報名
# (joining an event) are not here on purpose: those letters are for a person to read.
TABLE: Mapping[Verb, tuple[str, str, str]] = {
    Verb.HELP: (
        "help, info, commands, instructions, how to subscribe, how to join, how to unsubscribe, how do i subscribe, "
        "how do i join, how do i unsubscribe, how does this work, how to use, what can i do",
        "幫助, 說明, 使用說明, 指令, 命令, 如何使用, 怎樣使用, 怎麼用, 如何訂閱, 怎樣訂閱, 怎麼訂閱, 如何退訂, "
        "怎樣退訂, 怎麼退訂",
        "帮助, 说明, 使用说明, 指令, 命令, 如何使用, 怎样使用, 怎么用, 如何订阅, 怎样订阅, 怎么订阅, 如何退订, "
        "怎样退订, 怎么退订",
    ),
    Verb.SUBSCRIBE: (
        "subscribe, suscribe, subscibe, subscription request, join, sign up, sign me up, signup, add me, "
        "confirm subscription, confirm my subscription, confirm subscribe",
        "訂閱, 訂閲, 定閱, 加入, 申請訂閱, 申請加入, 加我, 確認訂閱, 確認加入, 訂閱確認",
        "订阅, 定阅, 加入, 申请订阅, 申请加入, 加我, 确认订阅, 确认加入, 订阅确认",
    ),
    Verb.CONFIRM: ("confirm, confirmed", "確認, 確定", "确认, 确定"),
    Verb.UNSUBSCRIBE: (
        "unsubscribe, unsuscribe, unsubscibe, un subscribe, unsub, sign off, signoff, leave, remove, remove me, "
        "remove my address, take me off, opt out, quit, stop, stop sending, no more mail, no more mails, "
        "cancel subscription, cancel my subscription, cancel the subscription, end my subscription, "
        "confirm unsubscribe",
        "退訂, 退訂閱, 退閱, 取消訂閱, 取消訂閲, 取消我的訂閱, 解除訂閱, 停止訂閱, 不再訂閱, 停止, 停止接收, "
        "停止寄送, 不想再收, 不要再寄, 退出, 離開, 移除, 移除我, 確認退訂, 確認取消訂閱, TD",
        "退订, 退订阅, 退阅, 取消订阅, 取消定阅, 取消我的订阅, 解除订阅, 停止订阅, 不再订阅, 停止, 停止接收, "
        "停止发送, 不想再收, 不要再发, 退出, 离开, 移除, 移除我, 确认退订, 确认取消订阅, TD",
    ),
    Verb.SET_KEY: (
        "key, public key, my key, my public key, new key, my new key, here is my key, here is my new key, set key, "
        "change key, change my key, update key, update my key, replace key, replace my key",
        "公鑰, 金鑰, 密鑰, 我的公鑰, 我的金鑰, 我的密鑰, 新公鑰, 新金鑰, 我的新公鑰, 附上公鑰, 更換公鑰, 更換金鑰, "
        "更新公鑰, 更新金鑰",
        "公钥, 密钥, 我的公钥, 我的密钥, 新公钥, 新密钥, 我的新公钥, 附上公钥, 更换公钥, 更换密钥, 更新公钥, 更新密钥",
    ),
    Verb.GET_KEY: (
        "key, public key, get key, get the key, send key, send the key, send me the key, your key, your public key, "
        "send me your key, send me your public key, list key",
        "公鑰, 金鑰, 密鑰, 索取公鑰, 取得公鑰, 索取金鑰, 取得金鑰, 你們的公鑰, 你們的金鑰, 列表公鑰, 列表金鑰",
        "公钥, 密钥, 索取公钥, 获取公钥, 索取密钥, 获取密钥, 你们的公钥, 你们的密钥, 列表公钥, 列表密钥",
    ),
    Verb.SET_LANGUAGE: (
        "language, set language, change language, change my language, change language to, switch to, change to",
        "語言, 語文, 設定語言, 更改語言, 轉換語言, 切換語言, 改用, 轉用, 改為, 轉為",
        "语言, 语文, 设置语言, 更改语言, 转换语言, 切换语言, 改用, 换用, 改为, 换成",
    ),
    Verb.SET_FORMAT: (
        "format, set format, change format, change my format, format of letters, mail format, use format",
        "格式, 設定格式, 更改格式, 轉換格式, 切換格式, 改格式, 郵件格式, 信件格式, 收信格式, 使用格式",
        "格式, 设置格式, 更改格式, 转换格式, 切换格式, 改格式, 邮件格式, 信件格式, 收信格式, 使用格式",
    ),
    Verb.PAUSE: (
        "pause, pause subscription, pause my subscription, suspend",
        "暫停, 暫停訂閱, 暫停接收, 暫停寄送",
        "暂停, 暂停订阅, 暂停接收, 暂停发送",
    ),
    Verb.RESUME: (
        "resume, resume subscription, resume my subscription, unpause, continue, start again",
        "恢復, 恢復訂閱, 恢復接收, 恢復寄送, 繼續, 繼續訂閱, 繼續接收",
        "恢复, 恢复订阅, 恢复接收, 恢复发送, 继续, 继续订阅, 继续接收",
    ),
    Verb.CHANGE_ADDRESS: (
        "address, new address, my new address, change address, change my address, change address to, email, "
        "new email, new e mail, my new email, change email, change my email, change my e mail, move to",
        "地址, 新地址, 我的新地址, 更改地址, 更換地址, 改地址, 新信箱, 更改信箱, 更換信箱, 更改郵箱, 更換郵箱, "
        "新電郵, 更改電郵, 更換電郵, 更改電郵地址",
        "地址, 新地址, 我的新地址, 更改地址, 更换地址, 改地址, 新邮箱, 更改邮箱, 更换邮箱, 换邮箱, 更改邮箱地址, "
        "更改邮件地址",
    ),
    Verb.STATUS: (
        "status, my status, what do you hold, what do you hold about me, what do you know about me, my settings",
        "狀態, 我的狀態, 查詢, 查詢狀態, 查詢訂閱, 訂閱狀態, 我的訂閱, 我的設定",
        "状态, 我的状态, 查询, 查询状态, 查询订阅, 订阅状态, 我的订阅, 我的设置",
    ),
    Verb.FORGET: (
        "forget, forget me, delete me, delete my data, delete my address, erase me, erase my data",
        "忘記, 忘記我, 刪除我, 刪除資料, 刪除我的資料, 刪除我的地址, 抹除我的資料",
        "忘记, 忘记我, 删除我, 删除资料, 删除我的资料, 删除数据, 删除我的数据, 删除我的地址",
    ),
}

# None: Chinese, but not in which script; the letter's own characters must say.
LANGUAGE_NAMES: Mapping[Language | None, str] = {
    EN: "english, en, 英文, 英語, 英语",
    HANT: "zh hant, zh tw, zh hk, traditional chinese, chinese traditional, 繁體中文, 繁体中文, 繁體, 繁体, 繁體字, "
    "正體中文, 正體, 繁中, 中文繁體, 中文繁体",
    HANS: "zh hans, zh cn, zh sg, simplified chinese, chinese simplified, 简体中文, 簡體中文, 简体, 簡體, 简体字, "
    "简中, 簡中, 中文简体, 中文簡體",
    None: "chinese, zh, 中文, 漢語, 汉语, 華文, 华文",
}
# The plain names say nothing alone ("ordinary", "檔案"): they need one of SET_FORMAT's phrases beside them.
FORMAT_NAMES: Mapping[Format, tuple[str, str]] = {
    Format.PGP_MIME: (
        "pgp mime, pgpmime, mime pgp",
        "normal, ordinary, standard, usual, encrypted mail, 一般, 普通, 標準, 标准, 加密郵件, 加密邮件",
    ),
    Format.INLINE: (
        "inline, inline pgp, pgp inline, in line",
        "text, in the text, body, 內文, 内文, 正文, 內嵌, 内嵌, 文字",
    ),
    Format.ATTACHMENT: (
        "attachment, attachments, attached file, encrypted file, encrypted attachment, 附件, 附檔, 加密附件",
        "attached, file, files, 檔案, 文件, 附加檔案",
    ),
    Format.PDF: ("pdf, pdf file, pdf files, encrypted pdf, pdf 檔, pdf 檔案, pdf 文件, 加密 pdf", "pdfs"),
}
GREETINGS = (
    "hi, hello, hey, dear, good morning, good afternoon, good evening, 你好, 您好, 你們好, 你们好, 大家好, 早晨, "
    "早安, 早上好, 午安, 下午好, 晚安, 晚上好"
)
GREETED = "there, sir, madam, or, and, all, team, list, friend, friends, everyone, 各位, 朋友, 先生, 女士"
THANKS = (
    "please, pls, plz, thanks, many thanks, thank you, thx, cheers, best, kind, regards, 請, 请, 謝謝, 谢谢, 多謝, "
    "多谢, 感謝, 感谢"
)
BEFORE = (
    "kindly, just, i, in, want to, i want to, i'd like to, i would like to, would like to, i wish to, "
    "we would like to, can you, could you, would you, will you, can i, could i, may i, help me, help me to, 我, 想, "
    "要, 想要, 希望, 可以, 可否, 能否, 麻煩, 麻烦, 勞煩, 劳烦, 唔該, 幫, 帮, 幫我, 帮我, 幫忙, 帮忙, 替我, 給我, "
    "给我, 把, 將, 将, 從, 从, 由, 列表, 名單, 名单, 郵件, 邮件, 中, 使用, 用"
)
AFTER = (
    "me, me now, me asap, me immediately, me again, to, from, for, of, the, this, your, list, lists, mailing, "
    "mailinglist, mail, mails, email, emails, newsletter, newsletters, news, digest, digests, letters, service, "
    "version, 我, 本, 此, 這個, 这个, 你們的, 你们的, 貴, 贵, 的, 到, 為, 为, 郵件, 邮件, 電郵, 电邮, 電子郵件, "
    "电子邮件, 郵件列表, 邮件列表, 列表, 名單, 名单, 通訊, 通讯, 電子報, 电子报, 週報, 周報, 周报, 新聞, 新闻, 消息, "
    "訊息, 服務, 服务, 版, 一下, 吧, 嗎, 吗, 呀, 啦, 唔該"
)

Tokens = tuple[str, ...]
_TOKEN = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+(?:'[^\W_\u3400-\u9fff]+)*")


@dataclass(frozen=True, slots=True)
class Phrase:
    """What a line says. verbs: one, or SET_KEY and GET_KEY. languages: in which the table has the phrase.

    wanted: the language named in the line. names_chinese: it names Chinese, but not in which script. format: the one
    that is named.
    """

    verbs: frozenset[Verb]
    languages: frozenset[Language]
    wanted: Language | None = None
    names_chinese: bool = False
    format: Format | None = None


def tokenise(line: str) -> Tokens:
    """Return the words of a line, Latin ones whole, Han characters singly; case, width and punctuation fall away."""
    plain = unicodedata.normalize("NFKC", line).casefold().replace("’", "'")
    return tuple(_TOKEN.findall(plain))


def find_phrase(tokens: Tokens, own_words: Set[Tokens] = frozenset()) -> Phrase | None:
    """Return the phrase that the whole line is, apart from courtesies and `own_words`; None for an ordinary line."""
    if not 0 < len(tokens) <= LONGEST_LINE:
        return None
    with_format = _with_format(tokens, own_words)
    if with_format:
        return with_format
    for start, end in _spans(len(tokens)):
        meanings = _PHRASES.get(tokens[start:end])
        if meanings and is_made_of(tokens[:start], _BEFORE | own_words):
            phrase = _with_language(meanings, tokens[end:], own_words)
            if phrase:
                return phrase
    return _language_alone(tokens, own_words)


def is_made_of(tokens: Tokens, parts: Set[Tokens]) -> bool:
    """Whether tokens are nothing but `parts`, one after another (an empty line is)."""
    reached = {0}
    for start in range(len(tokens)):
        if start in reached:
            reached |= {end for end in range(start + 1, len(tokens) + 1) if tokens[start:end] in parts}
    return len(tokens) in reached


def is_greeting(tokens: Tokens, own_words: Set[Tokens] = frozenset()) -> bool:
    """Whether a line only greets or thanks."""
    return is_made_of(tokens, _COURTESIES | own_words)


def _with_language(meanings: Set[tuple[Verb, Language]], after: Tokens, own_words: Set[Tokens]) -> Phrase | None:
    verbs = frozenset(verb for verb, _ in meanings)
    languages = frozenset(language for _, language in meanings)
    if is_made_of(after, _AFTER | own_words):
        return None if verbs == {Verb.SET_LANGUAGE} else Phrase(verbs, languages)
    name, rest = _take_language_name(after)
    if name and is_made_of(rest, _AFTER | own_words) and verbs & _WITH_LANGUAGE:
        return Phrase(verbs, languages, _NAMES[name], names_chinese=_NAMES[name] is None)
    return None


def _with_format(tokens: Tokens, own_words: Set[Tokens]) -> Phrase | None:
    """Return the phrase of a line that names a form of letters, before the verb or behind it: "PDF 格式"."""
    for start, end in _spans(len(tokens)):
        name = tokens[start:end]
        if name not in _FORMATS:
            continue
        wanted, is_plain = _FORMATS[name]
        for at, rest in ((end, tokens[end:]), (0, tokens[:start])):
            others = tokens[:start] if at else tokens[end:]
            languages = _format_verb(rest, own_words, may_switch=not is_plain)
            if languages is not None and is_made_of(others, _BEFORE | _AFTER | _FORMS | own_words):
                return Phrase(frozenset({Verb.SET_FORMAT}), languages, format=wanted)
    return None


def _format_verb(tokens: Tokens, own_words: Set[Tokens], *, may_switch: bool) -> frozenset[Language] | None:
    for start, end in _spans(len(tokens)):
        meanings = _PHRASES.get(tokens[start:end], frozenset())
        languages = {
            language
            for verb, language in meanings
            if verb is Verb.SET_FORMAT or (may_switch and verb is Verb.SET_LANGUAGE)
        }
        rest = tokens[:start], tokens[end:]
        if languages and all(is_made_of(one, _BEFORE | _AFTER | _FORMS | own_words) for one in rest):
            return frozenset(languages)
    return None


def _language_alone(tokens: Tokens, own_words: Set[Tokens]) -> Phrase | None:
    name, rest = _take_language_name(tokens)
    if name and is_made_of(rest, _BEFORE | _AFTER | own_words):
        return Phrase(frozenset({Verb.SET_LANGUAGE}), frozenset(), _NAMES[name], names_chinese=_NAMES[name] is None)
    return None


def _take_language_name(tokens: Tokens) -> tuple[Tokens | None, Tokens]:
    for start, end in _spans(len(tokens)):
        if tokens[start:end] in _NAMES:
            return tokens[start:end], tokens[:start] + tokens[end:]
    return None, tokens


def _spans(length: int) -> Iterator[tuple[int, int]]:
    """From the left, the longest first, so that 取消訂閱 is never read as 訂閱."""
    return ((start, end) for start in range(length) for end in range(length, start, -1))


def read_words(words: str) -> frozenset[Tokens]:
    """Return the phrases of a list with commas between them."""
    return frozenset(tokenise(word) for word in words.split(","))


def _read_table() -> dict[Tokens, frozenset[tuple[Verb, Language]]]:
    phrases: dict[Tokens, frozenset[tuple[Verb, Language]]] = {}
    for verb, columns in TABLE.items():
        for language, words in zip((EN, HANT, HANS), columns, strict=True):
            for tokens in read_words(words):
                phrases[tokens] = phrases.get(tokens, frozenset()) | {(verb, language)}
    return phrases


_WITH_LANGUAGE = frozenset({Verb.SET_LANGUAGE, Verb.SUBSCRIBE, Verb.HELP})
_PHRASES = _read_table()
_FORMATS = {
    tokens: (wanted, is_plain)
    for wanted, names in FORMAT_NAMES.items()
    for is_plain, words in enumerate(names)
    for tokens in read_words(words)
}
_FORMS = read_words("format, form, 格式, 形式, 方式")
_NAMES = {tokens: language for language, words in LANGUAGE_NAMES.items() for tokens in read_words(words)}
_BEFORE = read_words(GREETINGS) | read_words(BEFORE) | read_words(THANKS)
_AFTER = read_words(AFTER) | read_words(THANKS)
# What may stand beside the code of a card: words that ask to join, and courtesies.
ASKING_TO_JOIN = _BEFORE | _AFTER | {tokens for tokens, meant in _PHRASES.items() if Verb.SUBSCRIBE in dict(meant)}
_COURTESIES = read_words(GREETINGS) | read_words(GREETED) | read_words(THANKS)
