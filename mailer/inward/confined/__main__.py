"""`python -m mailer.inward.confined`: the child."""

from mailer.inward.confined.child import main

main()
