"""What servers say when they refuse a letter, in the words of many programs and providers.

Two tables, read from the top: CLEAR is what can mean one thing only, VAGUE is what decides where nothing else does.
Every pattern takes time linear in the text: each gap is bounded, and nothing that repeats stands in what repeats.
"""

from __future__ import annotations

import re

_WHO = (
    r"(?:user(?:id|name|s)?|recipients?|mail ?box|mail[- ]drop|account|address(?:ee)?|person|customer|subscriber"
    r"|alias"
    r"|inbox|e-?mail id|local[- ]?part|individual|destinat(?:ion|aire|ario)|login|employee|member|name|id)"
)
_LOST = (
    r"(?:unknown|not (?:be )?found|not exist|no longer|not a valid|invalid|not (?:listed|known|recogni[sz]ed|valid)"
    r"|not (?:a )?local|not (?:currently )?(?:active|activated|registered|enabled|here|on this|present|in our)"
    r"|dis(?:abled|continued)|deactivated|inactive|suspended|closed|cancell?ed|deleted|removed|terminated"
    r"|non-?exist[ae]nt|non esist|inexist\w*|unavailable for delivery|obsolete|retired|abandoned|deprovisioned)"
)
_FULLNESS = (
    r"(?:full\b|over (?:the )?(?:its |his |her )?(?:maximum )?(?:allowed )?(?:disk |storage |mail )?(?:quota|size"
    r"|limit)"
    r"|exceed(?:s|ed|ing)?\b|out of (?:disk )?space|out of storage|over ?quota|too (?:large|big|full)|overflow"
    r"|(?:does )?not have enough|reached (?:its|the) (?:maximum|limit|quota)|max\w* size)"
)


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


# Above all else: what a censoring provider says about content (QQ, NetEase, Sina, Aliyun and others).
CENSORED = _any(
    r"mail content (?:is |was )?(?:denied|rejected|refused|illegal)|\bcontent denied",
    r"error: content reject|^content reject|\bcontent (?:is |was )?reject\w*.{0,80}\b(?:qq|163|126|netease|sina"
    r"|sohu|tom)\.",
    r"\b(?:qq|163|126|netease|sina|sohu)\.com.{0,80}\bcontent (?:is |was )?reject",
    r"(?:sensitive|illegal|forbidden) (?:key ?)?(?:words?|contents?|information|text|topics?|terms?)\b",
    r"contains? (?:a )?(?:sensitive|illegal|politically)|(?:politically|politic\w*) sensitive|banned words?\b"
    r"|content is (?:sensitive|illegal)",
    r"敏感|违法|違法|非法(?:内容|信息|信件)|违禁|違禁|违规(?:内容|信息|词)|違規(?:內容|資訊|詞)|不良(?:信息|資訊|内容|內容)",
    r"(?:邮件|郵件|信件)?(?:内容|內容)(?:被拒|不合规|不合規|不合法|违规|違規|被禁|审核(?:未|不)|審核(?:未|不)|安全(?:检|檢))",
    r"(?:国家|國家|相关|相關|有关|有關)法律",
)
# The sender, and not the recipient, is unknown, unwanted or malformed.
SENDER = _any(
    r"(?:sender|from[ -](?:address|domain|header|field)|return[- ]path|mail from|originat\w+"
    r"|reverse[- ]path)(?:'s)?(?: e?-?mail)?(?: (?:address|domain"
    r"|system|mailbox|verify|verification|callout|host(?:name)?)){0,2}[^.;]{0,30}? ?\b(?:reject\w*|denied|refused"
    r"|blocked|block\b|invalid|fail\w*|unknown|not found|un?resolv\w*|not (?:exist|valid|allowed|accepted|permitted"
    r"|resol\w+|pre-approved|authori[sz]ed|recogni[sz]ed)|does(?:n't| not)|banned|black ?listed|forbidden|bad"
    r"|misconf\w+)",
    r"domain of sender|unrout(?:e)?able sender|(?:invalid|bad|unknown|forged|unverified|illegal) sender"
    r"|senders? domain",
    r"(?:could|can)(?:n't| ?not)[^.;]{0,20} (?:verify|resolve)[^.;]{0,20}(?:sender|domain|from)",
    r"from: ?domain|no valid sender|not(?: an?)? (?:allowed|authori[sz]ed|permitted|accepted) sender|sender id ",
    r"发件人|發件人|寄件人|寄件者",
    r"null sender|empty envelope|\bhelo\b|\behlo\b",
)
AUTHENTICATION = _any(
    r"\bspf\b|\bdkim\b|\bdmarc\b|\barc (?:seal|fail|validation)|sender policy framework|domainkeys?\b"
    r"|sender-?id (?:fail|perm)",
    r"un-?authenticated|not (?:properly )?authenticat|authenticat\w* (?:is )?(?:required|fail\w*|check\w*|result"
    r"|needed)",
    r"(?:must|requires?|required|need(?:s|ed)?|without|lacks?|no|fail\w*|pass\w*) (?:to )?(?:smtp )?authenticat\w+",
    r"authentification|smtp[- ]auth\b|auth(?:entication)? (?:error|credentials)|bad credentials|invalid (?:login"
    r"|credent)",
    r"please (?:log ?in|authenticate)|log(?:in|on) (?:required|denied)|authorization (?:required|failed)",
    r"reverse dns|\brdns\b|\bptr\b|reverse (?:lookup|mapping|host ?name|record|name)|fcrdns|no (?:valid )?in-?addr",
    r"ip (?:address )?(?:does ?not|doesn't|without|has no)[^.;]{0,20}(?:resolve|host ?name|name)|(?:no"
    r"|find your) (?:reverse )?host ?name",
    r"fix reverse|(?:client|sending) host[^.;]{0,30}(?:cannot find your|no resolv)|cannot find your (?:host|reverse)",
    r"must issue a starttls|(?:starttls|\btls|encryption)[^.;]{0,30}(?:required|needed|mandatory|must"
    r"|not (?:offered|support\w*"
    r"|available)|fail\w*|policy)|(?:require[sd]?|need|without|establish|use) (?:a )?(?:secure "
    r"|encrypted )?(?:starttls|tls)\b",
    r"certificate (?:verif|not trusted|has expired|mismatch)|mta-sts|\bdane\b|unverified (?:address"
    r"|certificate) via tls",
)
# How much and how fast we send, whoever says which word for it.
PACE = _any(
    r"gr[ae]y-?list\w*|throttl\w+|rate[- ]?(?:limit|control|exceed)\w*|ratelimit|frequency (?:is )?(?:limited"
    r"|limit\w*)",
    r"too (?:many|much) (?!(?:hops|received|unsubscri|invalid|spam|bad|non)\b)\w+|too (?:fast|quick|frequent)\w*"
    r"|slow down",
    r"(?:at a|the|unusual|sending|connection|message|mail|send|hourly|daily) (?:send(?:ing)? )?rate\b",
    r"(?:sending|daily|hourly|message|send|outbound|rate) (?:quota|limits?)\b.{0,20}?(?:exceed|reach|over)\w*",
    r"频率|頻率|发信(?:数|量)|發信(?:數|量)",
    r"exceeded? (?:the |your |its )?(?:max\w* )?(?:number|amount|rate|daily|hourly|connection|sending"
    r"|messages? (?:rate|limit))",
    r"max\w* (?:number of )?(?:connections?|sessions?|concurrent|recipients?|messages? per)"
    r"|concurren\w+ (?:connection|session)",
    r"connection (?:limit|count)|limit (?:on|for) the (?:number|allowed)|temporarily deferred|queue too long"
    r"|too long in the",
)
FULL = _any(
    r"over ?-?quota|quota (?:is |has been |was )?(?:exceed\w*|full|violat\w*|reach\w*|limit)|(?:exceed\w*|over"
    r"|out of)"
    r" (?:\w+ ){0,3}quota|\bquota exceeded|disk quota|quota full|insufficient quota|no quota|quota for|mail quota",
    rf"{_WHO}(?:'s)?[^.;]{{0,50}}?(?:is |are |has |have |was )?\b{_FULLNESS}",
    r"mail ?(?:box|folder|drop|spool|store) (?:is |has )?(?:temporarily )?(?:almost )?(?:full|exceed|over|at|too)",
    r"mail ?(?:box|folder)[^.;]{0,30}\b(?:is full|exceed\w*|is over|out of space)|(?:in)?box (?:is )?full|inboxfull",
    r"(?:allocated|allowed|available|mailbox|user|account|message) (?:disk )?(?:storage"
    r"|space)[^.;]{0,30}(?:exceed\w*|full|exhaust\w*)",
    r"(?:exceed\w*|exhausted|insufficient|not (?:have )?enough|no|out of)[^.;]{0,30}"
    r"(?:storage (?:space|alloc\w*|limit)|(?:mailbox|mail|disk|user) (?:storage|space)|space (?:left|available"
    r"|for the user))",
    r"(?:exceed\w*|beyond|over) [^.;]{0,25}(?:storage|mailbox (?:size|limit|quota)|disk (?:space|usage))"
    r"|out of storage",
    r"storage (?:quota|limit|space)|mailbox size limit|max\w* (?:mailbox|storage)|requested mailbox (?:is )?full"
    r"|账户已满",
    r"(?:邮箱|信箱|郵箱|收件箱|邮箱空间|信箱空間|空间|空間|容量)[^。;]{0,8}(?:已满|已滿|满了|不足|超[出过過]|已用[完尽盡]|配额|配額)",
    r"メールボックス[^。]{0,20}(?:一杯|いっぱい|満|容量|あふれ|オーバー)|容量[^。]{0,10}(?:超|オーバー|一杯)",
    r"postfach[^.]{0,30}(?:voll|überfüllt|quota)|mailbox (?:ist )?voll|speicher(?:platz)?[^.]{0,30}(?:erschöpft"
    r"|überschritten|voll)",
    r"bo[iî]te[^.]{0,40}(?:pleine|satur|quota)|espace[^.]{0,20}insuffisant|buz[oó]n[^.]{0,20}(?:lleno|llena)"
    r"|caixa[^.]{0,30}(?:cheia|lotada)",
    r"casella[^.]{0,30}piena|(?:ящик|почтов\w+)[^.]{0,30}перепол\w+|переполнен|skrzynk\w+[^.]{0,20}pe[lł]n",
)
# Content and reputation: said of us and of our letters, not of the recipient.
POLICY = _any(
    r"spam(?!\.example)|\bjunk\b|unsolicited|\bbulk\b|\bu[bc]e\b|\bmass[- ]?mail|newsletter|phish\w*|scam\b"
    r"|abus(?:e|ive)\b|complain",
    r"virus|malware|infected|trojan|\bworm\b|malicious|suspicious|fraud",
    r"black ?-?list\w*|block ?-?list\w*|deny ?list|\b\w{0,12}rbl\b|dnsb?l\b|\brbls?\b|listed (?:in|on|at"
    r"|by)\b(?! (?:public|domino|our))|\bdul\b"
    r"|\bdynamic(?:ally)? (?:ip|assigned|address)|dial-?up|residential|\bbl\.|\bxbl|\bsbl|\bpbl\b",
    r"spamhaus|spamcop|sorbs|barracudacentral|cloudmark|senderbase|senderscore|trustedsource|surbl|uribl"
    r"|mail-abuse|abuseat|invaluement|njabl|ordb\.org|aup#",
    r"reputation|(?<!un)\bblocked\b|\bblock for\b|blocking|\bbanned\b|\bbad (?:ip|host)\b|拒收"
    r"|黑名单|黑名單|垃圾邮件|垃圾郵件|屏蔽|被拒[收绝絕]",
    r"polic(?:y|ies)|prohibit\w*|administrative\w*|not (?:be )?(?:authori[sz]ed|permitted)(?! user)|forbidden"
    r"|unauthori[sz]ed",
    r"\brelay(?:ing)?\b(?! ?=)[^.;]{0,30}\b(?:den\w+|prohibit\w*|not|reject\w*|refus\w*|block\w*|attempt)|(?:not|no"
    r"|unable to|cannot|won't|don't"
    r"|deny|open|does(?:n't| not)|through this|refus\w+) (?:\w+ )?relay\w*|rcpthosts|relay (?:access|check)"
    r"|not (?:a )?local (?:domain|host)",
    r"pop (?:before|first)|check (?:your )?(?:mail|e-mail) first|use (?:the )?(?:smtp|mail) server of"
    r"|your (?:own )?isp",
    r"(?:message|mail|letter|e-?mail|size|header|line|attachment|body|content)s?[^.;]{0,50}\b(?:too (?:large|big"
    r"|long)|exceed\w*|limit exceeded"
    r"|over(?:sized)?\b|larger than)|max\w* message size|message size|size limit|exceeds? (?:the |fixed "
    r"|a )*(?:max\w*|size|message|incoming)",
    r"line limit|too (?:large|big|long)\b(?! to be delivered to)|message length|file ?size|datensatz"
    r"|nachricht[^.]{0,20}groß|文件过大|(?:邮件|郵件|附件)[^。]{0,6}(?:太大|过大|過大|超)",
    r"attachment|executable|file (?:type|name|extension)|\.(?:exe|zip|scr|vbs)\b",
    r"content[^.;]{0,30}(?:reject\w*|violat\w*|filter\w*|refus\w*|unacceptable|not (?:accept|allow)\w*)"
    r"|content[- ]filter|reject\w* (?:due to|because of|by) content",
    r"messages? (?:was |has been |is |content )?(?:reject\w*|refused|not (?:allowed|accepted)(?! -- invalid)"
    r"|filtered|discarded)|rejected (?:as|by (?:the )?(?:recipient"
    r"|filter|user|rule))|rejected for|(?:will|does|do) not (?:accept|take|receive|want)\w* (?:any )?(?:e?-?mails?"
    r"|messages?|anything|connections?)(?: \w+){0,3} from",
    r"(?:will|does|do|can)(?:n't| ?not)? (?:not )?accept[^.;]{0,30}\bfrom\b|(?:mail|messages?|connections?|hosts?"
    r"|e-?mail|ip)s? (?:\S+ ){0,4}from[^.;]{0,60}"
    r"(?:not (?:accept|allow|welcome|permit)\w*|refused|reject\w*|denied)|rule imposed",
    r"header (?:error|check)|malformed (?!name)|\brfc ?-?\d{3,4}|non-?compliant|not (?:rfc|compliant)|(?:invalid"
    r"|bad|illegal|missing|duplicate|multiple|no|several)"
    r" (?:\S+ ){0,3}?(?:headers?|message-?id|date field|from field|mime)|messages? (?:missing|with multiple"
    r"|without)|bare (?:lf|cr|newline)|8-?bit|\bnul\b",
    r"(?:not (?:a|the) |for |only |non-?)(?:list )?(?:members?|subscribers?)\b(?: of| only| may| can|$)"
    r"|members[- ]only|moderat\w+|not subscribed|to post\b|posting|restricted|groups\.google",
    r"(?:recipient|user|he|she|they|addressee)s? (?:has |have )?(?:reject\w*|refus\w*|declin\w*|filter\w*"
    r"|does(?:n't| not) (?:want|accept|like|receive))"
    r"|not accept\w* (?:unsol|mail from)|whitelist|white list|allow ?list|pre-approved|challenge|guest list"
    r"|opt(?:ed)?[- ]?out|unsubscrib|suppress",
    r"(?:client|sending|your|connecting) (?:host|ip|server|mail server|network|address"
    r"|system)[^.;]{0,60}(?:reject\w*|denied|refused|not (?:allow|accept)\w*|block\w*|banned|is not)",
    r"cannot (?:send|e?mail) to|rejected - |(?:reject|refus|den)(?:ed|ing) (?:due to|because)|resource restriction"
    r"|protocol violation|synchroni[sz]ation|\bdt:\w{3}\b|\bmi:\w{3}\b|\bhl:\w{3}\b",
)
HOST_GONE = _any(
    r"(?:unknown|no such|non-?exist[ae]nt|bad|invalid|illegal) (?:mail )?(?:host(?:name)?|domain(?: name)?)\b"
    r"|null ?mx|nxdomain|domain has expired",
    r"(?:mail )?(?:host|domain)(?:name| name)?(?: or domain name)?[^.;]{0,40}?\b(?:unknown|not found|does(?:n't"
    r"| not) (?:exist|accept (?:any )?(?:e?-?mail))"
    r"|not exist|never logged|could(?:n't| not) be found|is not valid|has no (?:mail|mx))",
    r"unrout(?:e)?able (?:address|mail domain|domain)|all relevant mx records|mx records? point|no (?:valid )?(?:mx"
    r"|a|dns)(?: or a)? (?:records?|for domain|host)",
    r"no mail ?(?:hosts?|servers?|exchanger?)|could(?:n't| not) find (?:any|a|the)? ?(?:host|domain|mail|mx"
    r"|exchanger)|name or service not known|no mx\b|no route found to domain",
    r"域名不存在|找不到(?:域名|主机|主機)|host not found|domain name not found",
)
GONE = _any(
    rf"(?:unknown|no such|no valid|invalid|bad|non-?exist[ae]nt|illegal|undefined|unrecogni[sz]ed|incorrect"
    rf"|inactive|expired|disabled|wrong)"
    rf" (?:or illegal |final |delivery |local |destination |mail |e-?mail |virtual |internal |recipient |address"
    rf"|smtp |user |to )*{_WHO}",
    rf"{_WHO}(?:\(s\))?(?:'s)?\b[^;]{{0,60}}?\b(?:is |was |are |has been |does |doesn't |do |could |couldn't "
    rf"|can't |been |isn't )?{_LOST}\b",
    rf"{_WHO}[^.;]{{0,40}}?(?:isn't|doesn't|couldn't be|wasn't|does not|do not|could not be"
    rf"|cannot be) (?:\w+ )?(?:exist|found|valid|listed|a valid|have an?|active|resolve\w*)",
    r"no (?:mail ?box|account|users?|recipients?|one|such|person|records?|address|mail ?drop) (?:here|by|of|with"
    r"|for|found|named|at|available|that|in|matching|exists?)\b|no mail box",
    r"no (?:valid |such |matching )(?:local )?(?:recipients?|users?|accounts?|mail ?box|person|address(?:es)?|here"
    r"|e-?mail|entry|object|alias|name|id|customer)",
    r"(?:there is|we have|have|has) no (?:\w+ )?(?:user|account|mail ?box|one|such|record|recipient)|(?:isn't"
    r"|is not|not|are not|no longer) (?:an? |one of )?(?:our|valid|known|registered|correct|existing)"
    r" (?:\w+ )?(?:user|customer|recipient|mail ?box|address|account|e-?mail)|not our (?:user|customer)"
    r"|not (?:an? )?(?:user|e-?mail user)",
    r"(?:does not|doesn't|do not|did not) (?:have|match|like) (?:an?|any|recipient|our) ?(?:\S+ )?(?:account"
    r"|mail ?box|user|e-?mail|address)?|did not exactly match|not listed in|not in (?:my|our) (?:list|database)"
    r"|not in (?:the )?directory",
    r"(?:wasn't|was not|were not|couldn't be|could not be|not) found (?:at|by|in|on)|recipient ?not ?found"
    r"|recip(?:ient)?notfound|resolver\.adr|address not found|not be resolved",
    r"unknown (?:or illegal )?(?:user|recipient|address|local|mail|account|alias)|(?:user|recipient|addressee"
    r"|address|mailbox|account) (?:is )?unknown|\bunknown to\b|who(?:'s| is) that|unknown-user|badrcptto",
    r"(?:has|have|is|was) (?:been )?(?:disabled|deactivated|discontinued|suspended|closed|terminated|deleted"
    r"|cancell?ed|locked|frozen|inactive)|account (?:is |has )?(?:locked|inactive|disabled|expired)",
    r"(?:no longer|not) (?:work\w*|employed|(?:with|at) (?:this|the|our)|in (?:use|service)|accepting|available"
    r"|valid|active|monitored|exists?)\b|left (?:the|this|our) (?:company|organi[sz]ation)",
    r"\b(?:do|does|dos)(?:n't| not) exist|has moved|moved (?:to|permanently)|new (?:e-?mail )?address"
    r"|forward(?:ing)? address (?:has )?expired|try forwarding|please (?:update|remove) (?:your|this) (?:address"
    r"|records)",
    r"recipient address rejected: (?:undeliverable|unknown|invalid|no such)|addresses? (?:was )?not (?:exist|found"
    r"|known|valid)|recipient (?:address )?(?:is )?(?:not|invalid)",
    r"(?:用户|用戶|帐号|帐户|账号|账户|帳號|帳戶|邮箱|郵箱|信箱|收件人|收件者|地址|邮件地址|电子邮件地址)[^。;]{0,12}(?:不存在|无效|無效|错误|錯誤|找不到|被?停用|被?冻结|被?凍結"
    r"|被?禁用|已注销|已註銷|未开通|未激活|不正确)"
    r"|无此(?:用户|帐号|账号|邮箱)|無此(?:用戶|使用者|帳號)|查无此人|查無此人|找不到(?:用户|收件人|邮箱|使用者|該)|不存在(?:的|此|该)?(?:用户|邮箱|收件人)",
    r"(?:あて先|宛先|メールアドレス|ユーザ|アドレス)[^。]{0,20}(?:見つか(?:りません|らない)|存在しま|存在しない|ありません|不明)|(?:宛先|ユーザ)[^。]{0,4}不明",
    r"(?:empf(?:ä|ae)nger|benutzer|adress(?:e|at)|postfach|konto)[^.;]{0,30}(?:unbekannt|nicht (?:gefunden|bekannt"
    r"|existent|vorhanden|gültig|mehr)|existiert nicht|ungültig|gesperrt)",
    r"(?:adresse|destinataire|utilisateur|compte|boîte)[^.;]{0,30}(?:inconnu|invalide|inexistant|introuvable"
    r"|n'existe|désactiv)|(?:usuario|destinatario|cuenta|dirección|direccion|buz[oó]n)[^.;]{0,30}(?:desconocid"
    r"|no existe|inexistente|inválid|invalido|no encontrad)",
    r"(?:usuário|usuario|destinatário|conta|endereço)[^.;]{0,30}(?:desconhecid|não existe|nao existe|inexistente"
    r"|inválid|inativ)|(?:utente|destinatario|casella|indirizzo)[^.;]{0,30}(?:sconosciut|non esist|inesistente"
    r"|non trovat|non valid)",
    r"(?:пользовател\w+|адрес\w*|ящик\w*|получател\w+)[^.;]{0,30}(?:не (?:найден|существует|зарегистрирован)"
    r"|неизвест|отключ|заблокирован)|нет такого|(?:użytkownik|adres|konto|skrzynka)[^.;]{0,20}(?:nieznan"
    r"|nie istnieje)",
)
TEMPORARY = _any(
    r"temporar\w+|try (?:it |again|sending|your|delivery)?.{0,25}\blater|retry (?:later|in|time)|later attempt"
    r"|come back later|still being retried|will (?:be )?retr(?:y|ied)|transient|busy\b",
    r"timed? ?-?out|no (?:answer|response|reply) (?:from|received)|connection (?:was )?(?:refused|reset|lost|closed"
    r"|dropped|died|abort\w*|fail\w*|terminated|time\w*)|lost connection"
    r"|connect(?:ing)? (?:to )?(?:\S+ )?(?:fail\w*|refused)",
    r"no route to host|network (?:is )?(?:unreachable|error)|host (?:is )?(?:unreachable|down|not reachable)"
    r"|unable to (?:connect|establish|contact|reach)|(?:could|can)(?:n't| ?not| not) (?:connect|establish|initiate"
    r"|contact|reach)|wasn't able to establish",
    r"could not (?:deliver|send)[^.;]{0,30}(?:for the last|for \d)|retry (?:timeout|time)"
    r"|max\w* (?:delivery )?(?:attempts|retries|age)|expired\b|too long in the? ?queue|in the queue too long"
    r"|queue too long|(?:delivery|queue|message) (?:time )?(?:expir\w*|lifetime)|(?:failing"
    r"|tried) for (?:a )?(?:long|too)",
    r"not been able to|attempts?: |failed \d+ (?:attempts|times)|delivery attempts|given up after|giving up after"
    r"|undeliverable for|delivery time",
    r"\bloop(?:s|ing|ed)?\b|loops back|too many (?:hops|received)|hop ?count|hops exceeded|mail loop"
    r"|routing (?:error|loop)|循环|迴圈",
    r"system (?:error|fail\w*|resources?|storage|full|problem)|local (?:configuration|processing|error|problem"
    r"|delivery fail)|config\w* error|misconfig\w*|internal (?:\w+ )?error|server (?:\w+ )?(?:error|fail\w*|problem"
    r"|down|busy|not available)|i/o error|input/output|read-only file",
    r"(?:resources?|service|system|server|host|database|backend|store) (?:is |are |currently |temporarily "
    r"|now )*(?:un|not )available|out of (?:memory|resources|file)|insufficient (?:system|resources|memory|disk)"
    r"|no space left|disk full|file system full|cannot (?:lock|write|open|create|fork|allocate|append|access"
    r"|update)|can't (?:create|open|lock|write|use)|couldn't create|error (?:opening|writing|reading)|queue file"
    r"|write error",
    r"dns (?:query|server|lookup|error|fail\w*|timeout|problem)|name ?server|name service error|servfail"
    r"|lookup (?:fail\w*|error|time)|malformed name|domain lookup|resolv\w+ (?:fail|error)",
    r"transaction (?:failed|aborted)|data ?format error|command (?:died|time|output|failed|line usage)"
    r"|child (?:status|process)|exit (?:code|status|value)|aliasing/forwarding|program (?:exited|failed)|pipe (?:to"
    r"|delivery)|mailer (?:error|fail\w*)|procmail:|maildrop:|unexpected (?:error|response|failure)|deferred",
    r"(?:稍后|稍後|稍候|请重试|請重試|繁忙|超时|逾時|暂时|暫時|连接失败|連線失敗)|タイムアウト|しばらく",
)

# Microsoft says this, with 5.4.1, of addresses that its customer's directory does not have.
NOT_IN_DIRECTORY = _any(r"recipient address rejected: access denied")
# What decides only where nothing else does.
REFUSED_BY_RULE = _any(
    r"access (?:is )?denied|permission denied|connection denied|\bdenied\b|not allowed|unacceptable|filter\w*"
    r"|restrict",
)
NOT_TAKEN = _any(
    r"mail ?box (?:is |currently )*(?:not |un)(?:currently )?available|unavailable mail|undeliverable address"
    r"|mailbox not",
    r"recipient (?:address )?(?:was )?(?:reject\w*|refus\w*|unavailable)|(?:user|recipient) not|address rejected",
    r"name not allowed|not recogni",
)
REFUSED = _any(r"reject\w*|refus\w*|not accept\w*|declin\w*|violat\w*")
