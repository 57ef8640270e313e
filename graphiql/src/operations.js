import { config } from "./config.js";

// The first person is the one that the samples act on, so that two browser tabs can play against each other.
const idOf = (name) => (config.people.find((person) => person.name === name) ?? config.people[0])?.id ?? "";
const asJson = (value) => JSON.stringify(value, null, 2);

export const operations = [
  {
    query: `# Who am I: choose somebody above, then press Ctrl+Enter.
query WhoAmI {
  me {
    id
    username
    displayName
    followersCount
    followingCount
  }
}
`,
  },
  {
    query: `# A profile with followers
query ProfileWithFollowers {
  user(username: "star") {
    id
    username
    displayName
    isPrivate
    followersCount
    followers(first: 10) {
      totalCount
      edges {
        followedAt
        node {
          username
          displayName
          viewerIsFollowing
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
}
`,
  },
  {
    query: `# Follow somebody: userId in the variables below is ana's.
mutation Follow($input: FollowUserInput!) {
  followUser(input: $input) {
    user {
      username
      viewerFollowState
      followersCount
    }
    userErrors {
      code
      message
      path
    }
  }
}
`,
    variables: asJson({ input: { userId: idOf("ana") } }),
  },
  {
    query: `# Block somebody: userId in the variables below is eve's.
mutation Block($input: BlockUserInput!) {
  blockUser(input: $input) {
    user {
      username
      viewerHasBlocked
    }
    userErrors {
      code
      message
      path
    }
  }
}
`,
    variables: asJson({ input: { userId: idOf("eve") } }),
  },
  {
    query: `# Live: who follows me. Start this as ana,
# then run "Follow" as somebody else in a second browser tab.
subscription LiveFollows {
  followReceived {
    id
    cursor
    createdAt
    actor {
      username
      displayName
    }
  }
}
`,
  },
  {
    query: `# Privacy settings: who may see the list of my followers.
mutation PrivacySettings($input: UpdatePrivacySettingsInput!) {
  updatePrivacySettings(input: $input) {
    userErrors {
      code
      message
      path
    }
  }
}
`,
    variables: asJson({ input: { audiences: [{ group: "FOLLOWERS_LIST", audience: "FOLLOWERS" }] } }),
  },
];
