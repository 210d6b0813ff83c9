"""Lines about what an administrator asks for or changes on a page, and why that was refused."""

from __future__ import annotations

CHANGES = {
    # What there is not.
    "Not shown": "未显示",
    "there is no such page here, or you may not see it": "这里没有该页面，或者你无权查看",
    "there is no such session": "没有该会话",
    "there is no such sign-in": "没有该登录",
    "there is no such user": "没有该用户",
    "nothing has that name any more": "已没有该名称的内容",
    "there is no grant {0}, or you may not see it": "没有授权 {0}，或者你无权查看",
    "there is no rule {0}": "没有规则 {0}",
    "Name an app as the home page does.": "请按首页上的名称填写应用。",
    "the reason holds control characters": "原因含有控制字符",
    # Subjects, patterns, times.
    "{0} does not say who: write user:{1} or group:{2}, or {3}": "{0} 没有说明是谁：请写 user:{1} 或 group:{2}，或 {3}",
    "{0} is not user:NAME, group:NAME or {1}": "{0} 不是 user:NAME、group:NAME 或 {1}",
    "{0} is not a user name: {1}": "{0} 不是用户名：{1}",
    "{0} is not a group name: {1}": "{0} 不是组名：{1}",
    "use 1 to 64 of a-z, 0-9, '_', '.', '@', '+' and '-', not beginning with one of the last four": "请使用 1 至 64 个字符：a-z、0-9、'_'、'.'、'@'、'+' 和 '-'，且不以后四个开头",
    "{0} is not a pattern for an app: use a-z, 0-9, '-', and '*', '?' or '[a-z]' for what may vary": "{0} 不是应用的模式：请使用 a-z、0-9、'-'，可变部分用 '*'、'?' 或 '[a-z]'",
    "{0} is not a pattern for an environment: use a-z, 0-9, '-', and '*', '?' or '[a-z]' for what may vary": "{0} 不是环境的模式：请使用 a-z、0-9、'-'，可变部分用 '*'、'?' 或 '[a-z]'",
    "it would end before it begins; give a time in the future": "它会在开始之前到期；请填写将来的时间",
    "it would end after the year 9998; leave the end out": "它会在 9998 年之后到期；请不要填写期限",
    # Grants.
    "grant {0} belongs to the access set {1}": "授权 {0} 属于访问集 {1}",
    "a request is for entering, which this grant does not permit": "申请是为了进入，而此授权不允许进入",
    "{0} is not a permission; there are: {1}": "{0} 不是权限；可用的有：{1}",
    "the grant would permit nothing; leave it a permission, or remove it": "该授权将不允许任何操作；请至少保留一项权限，或移除它",
    # Roles.
    "{0} is not a role; there are: {1}": "{0} 不是角色；可用的有：{1}",
    "the role administrator covers all apps; for some apps, give the role owner": "管理员角色针对全部应用；只针对部分应用时，请授予所有者角色",
    "a role is for user:NAME or group:NAME, not for all users": "角色只能授予 user:NAME 或 group:NAME，不能授予所有用户",
    # Request rules.
    "the longest access is not a duration; write 30m, 2h or 1d": "最长时间的写法不正确；请写成 30m、2h 或 1d",
    "approvals are a number up to {0}": "需要同意的人数最多为 {0}",
    "a request is for entering; leave `enter` in": "申请是为了进入；请保留 `enter`",
    "name the approvers: group:NAME or user:NAME, not all users": "请指定审批人：group:NAME 或 user:NAME，不能是所有用户",
    "name later approvers together with the time after which they decide too, less than {0}": "请同时指定后续审批人，以及他们多久之后也可以审批（少于 {0}）",
    "a request that is approved at once has no later approvers": "立即批准的申请没有后续审批人",
    "break-glass approves at once; give no number of approvals": "紧急访问会立即批准；请不要填写需要同意的人数",
    "name the approvers who review each use of break-glass": "请指定复核每次紧急访问的审批人",
    "name the approvers, or let it approve at once with 0 approvals": "请指定审批人，或把需要同意的人数设为 0 以立即批准",
    "{0} approvals need as many approvers": "需要 {0} 人同意，审批人的人数不能少于此数",
    "{0} is not a range of hours: write 'Mon-Fri 08:00-20:00 Europe/Berlin'": "{0} 不是时段：请写成 'Mon-Fri 08:00-20:00 Europe/Berlin'",
    "{0} is not a range of hours: it ends when it begins": "{0} 不是时段：它的开始和结束相同",
    "{0} is not a time zone, such as Europe/Berlin or UTC": "{0} 不是时区，例如 Europe/Berlin 或 UTC",
    "{0} is not a time of day": "{0} 不是一天中的时间",
    "{0} is neither a day nor a range of days: write Mon, or Mon-Fri": "{0} 不是星期，也不是星期范围：请写成 Mon 或 Mon-Fri",
}
