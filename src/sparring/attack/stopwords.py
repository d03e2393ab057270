"""Words that carry grammar rather than meaning: a list of our own for English, which no attack changes by default."""

_WORDS = """
    a an the this that these those
    i me my mine myself we us our ours ourselves you your yours yourself yourselves
    he him his himself she her hers herself it its itself they them their theirs themselves one oneself
    who whom whose which what whoever whomever whichever whatever
    be am is are was were been being have has had having do does did doing done
    can could may might must shall should will would ought cannot
    not no nor never neither either both each every all any some such none
    and or but if then else than as because while until unless although though whether since lest
    of at by for with about against between into through during before after above below to from up down in out on off
    over under across along among around behind beneath beside besides beyond despite except inside near onto outside
    per past till toward towards underneath upon via within without throughout amid
    again further once here there when where why how now just also too very so only own same other another more most
    few less least much many several enough rather quite yet still ever even perhaps almost
    t s d ll m re ve o y ma
    ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't shan't
    shouldn't wasn't weren't won't wouldn't n't
    i'm i'd i'll i've you're you'd you'll you've he's he'd he'll she's she'd she'll it's it'd it'll we're we'd we'll
    we've they're they'd they'll they've that's that'll there's what's who's let's should've
"""
STOPWORDS = frozenset(_WORDS.split())
"""In lower case."""
