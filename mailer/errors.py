"""Every error of ours. The docstring of each is the sentence that the operator reads: what is wrong, what to do.

Nothing here, and no argument given to these classes, may carry an address, a subject, a token or a key. Expected
outcomes are values (`model.retry.TryLater`, `model.certificate.Refusal`), not exceptions.
"""


class MailerError(Exception):
    """Something went wrong in Mailer; the lines above this one say what."""

    def __init__(self, detail: str = "") -> None:
        sentence = " ".join((type(self).__doc__ or "").split())
        super().__init__(f"{sentence} {detail}".strip())
        self.detail = detail


# --- What the operator set up ---------------------------------------------------------------------------------------


class ConfigError(MailerError):
    """The configuration cannot be used. Mend the line that is named and run `mailer check-config`."""


class DkimKeyUnusable(ConfigError):
    """A DKIM key cannot be used. `mailer keys dkim` makes one that can."""


class InstanceError(MailerError):
    """This is not the folder of an instance. Give one with --instance DIR, or make one with `mailer init DIR`."""


class InstanceBusy(MailerError):
    """The register is in use: stop `mailer serve` and every `mailer work` first, or wait until a rotation has ended."""


class ServiceNotRunning(MailerError):
    """No service answers for this instance. Start one with `mailer serve`, as the user whom the instance belongs to."""


class ServiceRefused(MailerError):
    """The running service says:"""


class ServiceRunning(MailerError):
    """A service runs for this instance already, and goes on. End it before you start another."""


class ControlUnusable(MailerError):
    """The socket for `mailer lock` and `unlock` cannot be made. Look at the owner and mode of run/ in the instance."""


class ListUnknown(MailerError):
    """No such list here. `mailer lists show` names those that there are."""


class BackupUnusable(MailerError):
    """There is no backup, or nothing was restored from it; what was there before is as it was."""


class AuditBroken(MailerError):
    """The record of what organisers and admins did was tampered with. Keep this database as evidence, and ask who can
    write to it; the entries before the one that is named are as they were written.
    """


# --- Keys and passphrases -------------------------------------------------------------------------------------------


class VaultError(MailerError):
    """A key file or a passphrase cannot be used; nothing was changed."""


class WrongPassphrase(VaultError):
    """The passphrase opens no slot of this key file. Try again, or use the recovery phrase."""


class PassphraseMissing(MailerError):
    """A passphrase is needed. Name a file that holds it, give it as a systemd credential, or run this in a terminal."""


class Locked(MailerError):
    """The service secrets are locked. Give the passphrase with `mailer unlock`."""


class SealBroken(MailerError):
    """A sealed value does not open: it was damaged, moved to another row, or sealed to other keys. Restore a backup."""


class RotationUnderWay(MailerError):
    """The list's key was rotated already, and the one before is still known. End that first with --finish, or wait."""


class SecretsOutdated(MailerError):
    """A list key was rotated, and this process does not have the new one yet. Start it again."""


class KeyNotMade(MailerError):
    """The OpenPGP key of a list cannot be made or renamed. Look whether /dev/shm and the temporary folder are full."""


class CertificateUnusable(MailerError):
    """Nothing can be encrypted to this certificate. `mailer keys check FILE` says why."""


class CertificateAuthoritiesUnusable(ConfigError):
    """The certificates in [smime] ca_file cannot be read: it must be a PEM file of certificate authorities."""


class CertificateNotTaken(MailerError):
    """The answer of the certificate authority cannot be used; nothing was changed."""


class DecryptionFailed(MailerError):
    """A message cannot be decrypted with the keys of this list."""


# --- What strangers send --------------------------------------------------------------------------------------------


class BadAddress(MailerError):
    """That is not an e-mail address that mail can be sent to."""


class Unreadable(MailerError):
    """A letter cannot be read. It is set aside, sealed."""

    def __init__(self, reason: str = "malformed") -> None:
        super().__init__(f"({reason})")
        self.reason = reason  # one of model.letter.Unreadability


class ReaderDied(Unreadable):
    """A letter used up the time or memory that the reader is allowed. It is set aside, sealed."""

    def __init__(self) -> None:
        super().__init__("reader-died")


# --- What is stored and sent ----------------------------------------------------------------------------------------


class NotEnrolled(MailerError):
    """Nobody was added:"""


class SheetUnusable(MailerError):
    """Nothing was imported. Mend what is named and run the command again."""


class FileUnusable(MailerError):
    """A file cannot be used:"""


class StoreError(MailerError):
    """The database cannot be used. Look at free disk space and file modes; nothing that was accepted is lost."""


class StoreFull(StoreError):
    """There is no room to store anything more. Free disk space; senders were told to try again later."""


class StoreBusy(StoreError):
    """Too much comes in at once to be stored. Nothing is to be done; senders were told to try again later."""


class StoreConflict(StoreError):
    """Two changes at the same time contradict each other, so one was not made. Nothing is to be done."""


class StoreUnreachable(StoreError):
    """The database server does not answer, or ended the connection. Look whether it runs, and at [store] url."""


class StoreRefused(StoreError):
    """The database server does not let us in. Look at [store] url, the password and the server's own settings."""


class StoreTaken(StoreError):
    """A rotation or a copy has the database to itself. Wait until it has ended."""


class NotCopied(MailerError):
    """Nothing was copied:"""


class StoreDamaged(StoreError):
    """The database file is damaged. Stop the service and restore a backup (docs/operations.md)."""


class NotAtHome(MailerError):
    """This is a copy, or was moved or restored, so it delivers nothing. End the other one, then run `mailer adopt`."""


class DigestUnusable(MailerError):
    """The digest cannot be used. Mend what is named and run the command again."""


class TimeUnusable(MailerError):
    """A time cannot be used:"""


class MailboxUnusable(MailerError):
    """A seed mailbox cannot be looked into."""


class LetterUnusable(MailerError):
    """A letter of ours would break the rules of mail, so it was not sent. Mend what is named, or report it."""


class NothingAside(MailerError):
    """No letter is set aside for this reason. `mailer inbox list` names the reasons that there are."""


class InvitationUnknown(MailerError):
    """There is no such card that is still unused. `mailer subscribers invitations list` shows those that there are."""


class FormUnavailable(MailerError):
    """A letter cannot be made in its reader's form, so none was sent. `mailer doctor` names what is missing."""


class SmimeKeyMissing(FormUnavailable):
    """The list has no X.509 key, so nothing can be sent to readers with S/MIME. `mailer keys smime` makes one."""


class MustBeSealed(MailerError):
    """This letter may only leave encrypted, so it was not sent. Look at the subscriber's certificate."""


class RelayUnusable(MailerError):
    """The relay cannot be used as configured, so nothing was sent. Look at [relay] in config.toml."""


class TemplateError(MailerError):
    """A wording template cannot be used. Mend the file that is named."""


# --- The demonstration ----------------------------------------------------------------------------------------------


class DemoFailed(MailerError):
    """The demonstration ended early: something does not hold. `mailer demo --keep` leaves everything for a look."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
